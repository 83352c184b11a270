"""Words: the decoder with a cache, as the graph of a loop, and what the loop needs besides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.store.artifact import Tensors
from cad_edge.store.manifest import Texts
from cad_edge_export.fused_task import FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.language.decision import Mix, bound_mu
from cad_edge_export.language.decoder import LanguageDecoder
from cad_edge_export.language.experts import stacked_experts
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.backbones.llava.greedy_answers import GreedyAnswers

Array = np.ndarray[Any, np.dtype[Any]]

OUTPUTS = ("logits", "keys", "values")
NEW, BEFORE = "rows", "rows_before"  # sizes that vary


@dataclass(frozen=True)
class ExplainerSource:
    """What an `Explainer` of the manifest is made from."""

    engine: FusedTask
    """Stages that look at the frame, and all bound tensors."""
    tokens: str
    """Source of the rows of the image, <k>/<output> of ``engine``."""
    decoder: StageModule
    layers: int
    kv_heads: int
    head_width: int
    positions: int
    """Rows that a dialogue can have."""
    embedding: Tensors
    """``embedding`` (vocabulary, width)."""
    tokenizer: bytes
    """tokenizer.json."""
    texts: Texts
    reference: Callable[[Array, int], GreedyAnswers]
    """What torch answers to the task's question about images (n, height, width, 3) uint8 in so many
    tokens."""


class CachedDecoder(nn.Module):
    """Rows and a cache -> logits of the next token, and the cache with these rows in it.

    One graph serves the prompt, whose cache is empty, and every step after it: positions follow
    from the length of the cache.
    """

    head: Tensor
    bias: Tensor | None

    def __init__(
        self,
        base: LlavaBase,
        decoder: LanguageDecoder,
        precision: ModulePrecision,
        mix: Mix,
        names: tuple[str, ...],
    ) -> None:
        """Assemble.

        Parameters
        ----------
        base
            In float32; the head is taken from it.
        decoder
            In ``precision``.
        mix
            How the tasks answer.
        names
            Of its tensors, in the order in which they come.
        """
        super().__init__()
        self.decoder, self.mix, self.names = decoder, mix, names
        self.dtype = torch.float16 if precision == "fp16" else torch.float32
        self.register_buffer("head", base.head.weight.detach().to(self.dtype).T)
        bias = base.head.bias
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(
        self, embeddings: Tensor, past_keys: Tensor, past_values: Tensor, *values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read some rows.

        Parameters
        ----------
        embeddings
            (1, rows, width) float32.
        past_keys, past_values
            (layers, 1, kv_heads, rows before, head width) float32.
        values
            Tensors of the tasks, ``anchor`` of the image among them where it matters.

        Returns
        -------
        tuple
            logits (1, vocabulary) after the last row, keys and values (layers, 1, kv_heads, rows so
            far, head width), all float32.
        """
        tensors = dict(zip(self.names, values, strict=True))
        start, count = past_keys.shape[3], embeddings.shape[1]
        positions = self.decoder.positions_of(
            torch.arange(count) + start, torch.arange(start + count)
        )
        past = list(zip(past_keys.to(self.dtype), past_values.to(self.dtype), strict=True))
        hidden, pairs = self.decoder(
            embeddings.to(self.dtype),
            stacked_experts(tensors, self.mix.composition),
            bound_mu(tensors, self.mix),
            positions,
            past,
        )
        logits = (hidden @ self.head).float()
        logits = logits if self.bias is None else logits + self.bias
        keys, found = (torch.stack(parts).float() for parts in zip(*pairs, strict=True))
        return logits, keys, found


def speaking(
    base: LlavaBase,
    precision: ModulePrecision,
    mix: Mix,
    bound: tuple[GraphInput, ...],
    shared_key: str,
) -> StageModule:
    """Return the decoder with a cache; its first three inputs are those of the loop.

    Parameters
    ----------
    base
        In float32.
    mix, bound
        How the tasks answer, and the inputs by which its tensors come.
    shared_key
        Of the stage.
    """
    decoder = LanguageDecoder(base.language)
    if precision == "fp16":
        decoder.to_half()
    names = tuple(item.name for item in bound)
    # No two sizes of the example are equal, so that none is taken for another.
    cache = torch.zeros(len(decoder.layers), 1, decoder.heads.keys, 7, decoder.heads.width)
    loop = (
        GraphInput("embeddings", "loop/embeddings", torch.zeros(1, 5, base.width), sizes={1: NEW}),
        GraphInput("past_keys", "loop/keys", cache, sizes={3: BEFORE}),
        GraphInput("past_values", "loop/values", cache.clone(), sizes={3: BEFORE}),
    )
    module = CachedDecoder(base, decoder, precision, mix, names)
    return StageModule(module, (*loop, *bound), OUTPUTS, shared_key)


def texts_of(base: LlavaBase, question: str) -> Texts:
    """Return the texts of a turn, the image aside."""
    texts = base.texts
    return Texts(
        before_image=texts.before_image,
        after_image=texts.after_image,
        after_question=texts.after_question,
        between_turns=texts.next_turn,
        question=question,
        stop=list(base.stop_ids),
    )


def embedding_of(base: LlavaBase, precision: ModulePrecision) -> Tensors:
    """``embedding`` (vocabulary, width), float16 for fp16."""
    table = base.language.get_parameter("embed_tokens.weight").detach()
    return {"embedding": (table.half() if precision == "fp16" else table).numpy()}


def most_positions(base: LlavaBase) -> int:
    """Rows that the language model was made for."""
    config: Any = base.language.config
    return int(config.max_position_embeddings)
