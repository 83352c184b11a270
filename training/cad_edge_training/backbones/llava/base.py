"""A frozen LLaVA-OneVision: tower, projector and language model (Li et al., arXiv 2408.03326)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cad_edge.errors import OptionError
from cad_edge.store.artifact import BackboneIdentity
from cad_edge_training.backbones.backbone import Backbone, weights_sha256
from cad_edge_training.backbones.llava.chat import (
    ChatTexts,
    DecisionTokens,
    Prompt,
    build_prompt,
    find_answers,
    find_stops,
)
from cad_edge_training.backbones.llava.vision import VisionTower

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class LlavaBase(Backbone):
    """The base model of CL-Anomaly; made by `load_llava`.

    An image is one square tile of the tower's size. Its rows in the language model are the
    projected tokens of the tower and the learned newline; several views of a sample are as many
    images one after another.
    """

    n_patches: int
    """Tokens of the tower for one image; the language model gets one more, the newline."""
    vision_width: int
    width: int
    """Width of the language model."""

    def __init__(
        self, model: nn.Module, vision: VisionTower, tokenizer: "Tokenizer", name: str
    ) -> None:
        """Assemble and freeze.

        Parameters
        ----------
        model
            A ``LlavaOnevisionForConditionalGeneration`` in float32.
        vision
            Its tower; the weights are shared.
        tokenizer
            The tokenizer of its language model.
        name
            Identity of the backbone, for example ``llava:ID``.

        Raises
        ------
        OptionError
            The tokenizer lacks the tokens of the chat template, or Yes or No as one token.
        """
        super().__init__()
        config: Any = model.config
        self.model = model
        self.vision = vision
        self.tokenizer = tokenizer
        self.texts = ChatTexts()
        self.stop_ids = find_stops(tokenizer)
        self.answers: DecisionTokens = find_answers(tokenizer)
        self.recipe = vision.recipe
        self.n_blocks = vision.n_blocks
        self.routing_blocks = vision.routing_blocks
        self.token_blocks = vision.token_blocks
        self.n_patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        self.vision_width = config.vision_config.hidden_size
        self.width = config.text_config.hidden_size
        self.freeze()
        self.identity = BackboneIdentity(id=name, sha256=weights_sha256(model.state_dict()))

    @property
    def language(self) -> nn.Module:
        """The language model without its head, transformers' ``Qwen2Model``."""
        return self.model.get_submodule("model.language_model")

    @property
    def head(self) -> nn.Linear:
        """The matrix from (..., width) to logits (..., vocabulary)."""
        head = self.model.get_submodule("lm_head")
        assert isinstance(head, nn.Linear)
        return head

    @property
    def projector(self) -> nn.Module:
        """What maps (..., vision_width) to (..., width)."""
        return self.model.get_submodule("model.multi_modal_projector")

    @property
    def image_newline(self) -> Tensor:
        """The learned row (width,) that ends an image."""
        return self.model.get_parameter("model.image_newline")

    def normalise(self, image: Tensor) -> Tensor:
        """Turn image (batch, height, width, 3) uint8 RGB into what the tower was trained on."""
        return self.vision.normalise(image)

    def stem(self, pixels: Tensor) -> Tensor:
        """Turn pixels (batch, 3, height, width) float32 into the hidden state before block 0."""
        return self.vision.stem(pixels)

    def block(self, index: int, hidden: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Run block ``index`` of the tower; a prompt is refused."""
        if prompt is not None:
            raise self._no_prompts()
        return self.vision.block(index, hidden)

    def feature_map(self, hidden: Tensor) -> Tensor:
        """Features (batch, channels, grid height, grid width) float32 of a hidden state."""
        return self.vision.feature_map(hidden)

    def prompt_shape(self, index: int, length: int) -> tuple[int, ...]:
        """Raise OptionError: what a method learns sits in the language model, not in the tower."""
        raise self._no_prompts()

    def _no_prompts(self) -> OptionError:
        return OptionError(
            f"{self.identity.id} takes no prompts; choose another backbone for a method with "
            "prompts, or switch them off"
        )

    def tower_tokens(self, states: Mapping[int, Tensor]) -> Tensor:
        """Tokens of the tower, before the projector.

        Parameters
        ----------
        states
            Hidden states by block, from `run`; those of ``token_blocks`` are read.

        Returns
        -------
        Tensor
            (batch, n_patches, vision_width) float32.
        """
        return self.vision.tokens(states)

    def look(self, image: Tensor) -> Tensor:
        """Tokens of the tower for images.

        Parameters
        ----------
        image
            (batch, [views,] height, width, 3) uint8 RGB at the recipe's size; the tower sees the
            views of a sample as so many images.

        Returns
        -------
        Tensor
            (batch, [views,] n_patches, vision_width) float32, for `image_tokens`.
        """
        states = self.run(self.normalise(image.flatten(0, -4)), max(self.token_blocks))
        raw = self.tower_tokens(states)
        return raw.reshape(*image.shape[:-3], *raw.shape[1:])

    def image_tokens(self, raw: Tensor) -> Tensor:
        """Rows of an image, or of several views, in the language model.

        Parameters
        ----------
        raw
            (batch, n_patches, vision_width) float32, from `tower_tokens`; of several views
            (batch, views, n_patches, vision_width).

        Returns
        -------
        Tensor
            (batch, n_patches + 1, width): projected tokens, then the newline; of several views
            (batch, views * (n_patches + 1), width), view by view.
        """
        if raw.ndim == 4:
            rows = self.image_tokens(raw.flatten(0, 1))
            return rows.reshape(len(raw), raw.shape[1] * rows.shape[1], self.width)
        newline = self.image_newline.reshape(1, 1, -1).expand(raw.shape[0], 1, -1)
        return torch.cat((self.projector(raw), newline), dim=1)

    def embed(self, ids: Tensor) -> Tensor:
        """Rows (n, width) of the embedding table for token ids (n,) int64."""
        rows: Tensor = self.language.get_submodule("embed_tokens")(ids)
        return rows

    def prompt(self, question: str, images: int = 1) -> Prompt:
        """Token ids around the image of a question, in the chat template.

        Parameters
        ----------
        question
            What is asked.
        images
            How many images are shown; their rows stand one after another, each with its newline,
            so that the ids around them do not depend on it.

        Raises
        ------
        OptionError
            The question holds a token that structures the chat, or no image is shown.
        """
        if images < 1:
            raise OptionError(f"images is {images}; show at least one")
        return build_prompt(self.tokenizer, self.texts, question)
