"""Qwen2 written out for export: all layers of transformers' ``Qwen2Model`` and the norm above.

Of the last layer only the last position is computed, but for its keys and values.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cad_edge.errors import OptionError
from cad_edge_export.language.decoder_layer import (
    DecoderLayer,
    Heads,
    Norm,
    Pair,
    Positions,
    Product,
    RowRange,
)
from cad_edge_export.language.experts import LayerExperts

RUN = 192  # rows whose attention is one product; half of what lies ahead is left out with four

Experts = Sequence[LayerExperts | None]
"""Experts by layer."""


class LanguageDecoder(nn.Module):
    """All layers and the norm above them."""

    frequencies: Tensor

    def __init__(self, language: nn.Module) -> None:
        """Take a ``Qwen2Model`` in float32 apart; its weights are shared.

        Raises
        ------
        OptionError
            It has parts that are not written out here.
        """
        super().__init__()
        config: Any = language.config
        _check(config)
        width = getattr(config, "head_dim", None)
        width = width or config.hidden_size // config.num_attention_heads
        heads = Heads(config.num_attention_heads, config.num_key_value_heads, width)
        self.heads = heads
        layers = language.get_submodule("layers").children()
        self.layers = nn.ModuleList(DecoderLayer(layer, heads) for layer in layers)
        self.norm = Norm(language.get_submodule("norm"))
        frequencies = language.get_submodule("rotary_emb").get_buffer("inv_freq")
        self.register_buffer("frequencies", frequencies.float(), persistent=False)

    def merge(self, changes: Iterable[Mapping[str, Tensor]]) -> None:
        """Add to the linears of every layer, by short name, a change (inputs, outputs)."""
        for layer, parts in zip(self.layers, changes, strict=True):
            for name, change in parts.items():
                product = layer.get_submodule(f"linears.{name}")
                assert isinstance(product, Product)
                product.merge(change)

    def to_half(self) -> None:
        """Round weights to half precision; the angles of positions stay exact."""
        self.layers.half()
        self.norm.half()

    def positions(self, count: int, before: int = 0) -> Positions:
        """Return positions of ``count`` rows behind ``before`` others."""
        every = torch.arange(before + count)
        found = self.positions_of(every[before:], every)
        return replace(found, runs=runs_of(count, before))

    def positions_of(self, rows: Tensor, every: Tensor) -> Positions:
        """Positions of ``rows`` (rows,) int64 that attend to ``every`` (all rows,) int64."""
        angles = rows.float()[:, None] * self.frequencies
        ahead = every[None] > rows[:, None]
        mask = torch.where(ahead, torch.tensor(-torch.inf), torch.tensor(0.0))
        return Positions(angles.cos(), angles.sin(), mask)

    def forward(
        self,
        rows: Tensor,
        experts: Experts,
        mu: Tensor | None,
        positions: Positions,
        past: list[Pair] | None,
    ) -> tuple[Tensor, list[Pair]]:
        """Read rows (batch, rows, width).

        Returns
        -------
        tuple
            The last row (batch, width) after the norm, and keys and values by layer.
        """
        hidden, pairs = rows, []
        for number, layer in enumerate(self.layers):
            last = number + 1 == len(self.layers)
            before = None if past is None else past[number]
            hidden, pair = layer(hidden, experts[number], mu, positions, before, last)
            pairs.append(pair)
        return self.norm(hidden[:, -1]), pairs


def runs_of(count: int, before: int) -> tuple[RowRange, ...]:
    """Divide ``count`` rows behind ``before`` others into runs of about `RUN` rows."""
    parts = max(1, round(count / RUN))
    bounds = [count * part // parts for part in range(parts + 1)]
    return tuple(RowRange(start, stop, before + stop) for start, stop in itertools.pairwise(bounds))


def _check(config: Any) -> None:  # noqa: ANN401  (transformers is untyped)
    rope = config.rope_parameters["rope_type"]
    if rope != "default" or set(config.layer_types) != {"full_attention"}:
        raise OptionError(
            f"this language model has {rope} positions and "
            f"{' and '.join(sorted(set(config.layer_types)))}; the exporter writes out default "
            "positions and full attention only, so take another base model"
        )
    if config.hidden_act != "silu":
        raise OptionError(
            f"this language model computes with {config.hidden_act}, the exporter with silu only; "
            "take another base model"
        )
