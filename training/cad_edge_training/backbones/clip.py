"""CLIP's image and text towers (Radford et al., ICML 2021)."""

from torch import Tensor, nn

from cad_edge.errors import OptionError
from cad_edge.store.artifact import BackboneIdentity
from cad_edge_training.backbones.backbone import weights_sha256
from cad_edge_training.backbones.pretrained import find_part, load_pretrained
from cad_edge_training.backbones.text_tower import TextTower
from cad_edge_training.backbones.vision_transformer import (
    LayerNames,
    TransformerBlock,
    VisionTransformer,
)

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
NAMES = LayerNames(
    norm1="layer_norm1",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.out_proj",
    norm2="layer_norm2",
    mlp="mlp",
)


class ClipBackbone(VisionTransformer):
    """The image tower, and what joins it to text; made by `load_clip`."""

    text: TextTower
    post_norm: nn.Module
    visual_projection: nn.Module
    text_width: int

    def project(self, features: Tensor) -> Tensor:
        """Patch tokens in the joint space, by the layer norm and projection of the class token.

        Parameters
        ----------
        features
            (batch, patches, width), after any block (METHODS 2.2).

        Returns
        -------
        Tensor
            (batch, patches, text_width), not normalised.
        """
        out: Tensor = self.visual_projection(self.post_norm(features))
        return out

    def embed_text(self, text: str) -> Tensor:
        """Token embeddings (tokens, text tower's width), start and end token included."""
        return self.text.embed(text)

    def encode_text_embeddings(self, embeddings: Tensor) -> Tensor:
        """Features (batch, text_width) of embeddings (batch, tokens, text tower's width)."""
        return self.text.encode(embeddings)


def load_clip(source: str, size: int | None = None) -> ClipBackbone:
    """Load a frozen CLIP.

    Parameters
    ----------
    source
        Hub id (``openai/clip-vit-base-patch16``, ...) or a local folder that transformers can read.
    size
        Input side in pixels, a multiple of the patch size; the pretraining size if None.

    Raises
    ------
    OptionError
        Nothing is found at ``source``, it is no CLIP, or ``size`` does not fit.
    """
    found = load_pretrained(source, ("clip",))
    model, vision = found.model, found.config.vision_config
    tower = model.get_submodule("vision_model")
    heads = vision.num_attention_heads
    layers = tower.get_submodule("encoder.layers").children()
    backbone = ClipBackbone(
        patch=tower.get_submodule("embeddings.patch_embedding"),
        class_token=tower.get_parameter("embeddings.class_embedding").detach(),
        position=tower.get_parameter("embeddings.position_embedding.weight").detach(),
        norm=tower.get_submodule("pre_layrnorm"),
        blocks=[TransformerBlock(layer, NAMES, heads) for layer in layers],
    )
    backbone.post_norm = tower.get_submodule("post_layernorm")
    backbone.visual_projection = model.get_submodule("visual_projection")
    backbone.text = TextTower(
        model.get_submodule("text_model"),
        model.get_submodule("text_projection"),
        NAMES,
        found.config.text_config.num_attention_heads,
    )
    backbone.text_width = found.config.projection_dim
    backbone.text.tokenizer = _tokenizer(source)
    backbone.set_normalisation(MEAN, DEVIATION)
    backbone.identity = BackboneIdentity(
        id=f"clip:{found.name}", sha256=weights_sha256(backbone.state_dict())
    )
    backbone.fix_size(size or vision.image_size, vision.patch_size)
    backbone.freeze()
    return backbone


def _tokenizer(source: str) -> object | None:
    """Tokenizer beside the weights; None where there is none, since images need no words."""
    from transformers import AutoTokenizer

    try:
        tokenizer: object = find_part(AutoTokenizer, source)
    except OptionError:
        return None
    return tokenizer
