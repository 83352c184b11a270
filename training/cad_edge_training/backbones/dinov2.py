"""DINOv2, with or without registers (Oquab et al. 2023; Darcet et al., ICLR 2024)."""

from torch import nn

from cad_edge.store.artifact import BackboneIdentity
from cad_edge_training.backbones.backbone import weights_sha256
from cad_edge_training.backbones.pretrained import load_pretrained
from cad_edge_training.backbones.vision_transformer import (
    LayerNames,
    TransformerBlock,
    VisionTransformer,
)

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
DEFAULT_SIZE = 224  # pixels; the networks were finished at 518, which costs five times as much

_OUTER = {"norm1": "norm1", "norm2": "norm2", "mlp": "mlp"}
_SCALES = {"scale1": "layer_scale1.lambda1", "scale2": "layer_scale2.lambda1"}
NAMES = LayerNames(
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    out="attention.o_proj",
    **_OUTER,
    **_SCALES,
)
NAMES_TRANSFORMERS_4 = LayerNames(
    query="attention.attention.query",
    key="attention.attention.key",
    value="attention.attention.value",
    out="attention.output.dense",
    **_OUTER,
    **_SCALES,
)


def load_dinov2(source: str, size: int | None = None) -> VisionTransformer:
    """Load a frozen DINOv2.

    Parameters
    ----------
    source
        Hub id (``facebook/dinov2-small``, ``facebook/dinov2-with-registers-base``, ...) or a local
        folder that transformers can read.
    size
        Input side in pixels, a multiple of the patch size; if None the smaller of 224 and the size
        of its position embeddings.

    Raises
    ------
    OptionError
        Nothing is found at ``source``, it is no DINOv2, or ``size`` does not fit.
    """
    found = load_pretrained(source, ("dinov2", "dinov2_with_registers"))
    model, config = found.model, found.config
    layers = model.get_submodule("encoder.layer")
    names = (
        NAMES if hasattr(layers.get_submodule("0.attention"), "q_proj") else NAMES_TRANSFORMERS_4
    )
    heads = config.num_attention_heads
    registered = config.model_type == "dinov2_with_registers"
    backbone = VisionTransformer(
        patch=model.get_submodule("embeddings.patch_embeddings.projection"),
        class_token=model.get_parameter("embeddings.cls_token").detach()[0, 0],
        position=model.get_parameter("embeddings.position_embeddings").detach()[0],
        norm=nn.Identity(),
        blocks=[TransformerBlock(layer, names, heads) for layer in layers.children()],
        registers=model.get_parameter("embeddings.register_tokens").detach()[0]
        if registered
        else None,
    )
    backbone.set_normalisation(MEAN, DEVIATION)
    backbone.identity = BackboneIdentity(
        id=f"dinov2:{found.name}", sha256=weights_sha256(backbone.state_dict())
    )
    default = min(DEFAULT_SIZE, config.image_size) // config.patch_size * config.patch_size
    # The published resampling averages for the networks with registers only.
    backbone.fix_size(size or default, config.patch_size, antialias=registered)
    backbone.freeze()
    return backbone
