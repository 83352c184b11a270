"""One layer of a Qwen2 written out for export, with experts beside its linears.

The same numbers as transformers' layer with less in the graph: matrices as x @ W, queries of a
group of heads as rows of one product with their common key (no copies of keys), the scale of
attention in the rotation of the queries, and no product with keys that lie ahead of a run of rows.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cad_edge_export.language.experts import GROUPS, LayerExperts, leaf

Pair = tuple[Tensor, Tensor]
"""Keys, rotated, and values, (batch, kv_heads, rows, head width) each."""


@dataclass(frozen=True)
class RowRange:
    """Rows ``start`` to ``stop`` of a pass, which see no more than the first ``seen`` of all."""

    start: int
    stop: int
    seen: int


@dataclass(frozen=True)
class Positions:
    """Where the rows of a pass stand."""

    cos: Tensor
    """(rows, head width / 2) float32, as ``sin``."""
    sin: Tensor
    mask: Tensor
    """(rows, rows before and of the pass) float32, added to attention: 0, or -inf ahead."""
    runs: tuple[RowRange, ...] = ()
    """Parts of the rows that attend one after another; empty where they are not known before."""


@dataclass(frozen=True)
class Heads:
    """Shape of attention."""

    queries: int
    keys: int
    width: int


class Norm(nn.Module):
    """Root mean square norm with its statistics in float32."""

    weight: Tensor

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        epsilon: Any = norm.variance_epsilon
        self.epsilon = float(epsilon)
        self.register_buffer("weight", norm.get_parameter("weight").detach())

    def forward(self, x: Tensor) -> Tensor:
        """Scale the rows of x (..., width)."""
        wide = x.float()
        # Root and quotient, not their product: this is the pattern that runtimes fuse.
        wide = wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * wide.to(x.dtype)


class Product(nn.Module):
    """x @ weight + bias."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        # A view of the network's own memory, which is gigabytes large.
        self.register_buffer("weight", linear.get_parameter("weight").detach().T)
        bias: Any = linear.bias
        self.register_buffer("bias", None if bias is None else bias.detach())

    def merge(self, change: Tensor) -> None:
        """Add change (inputs, outputs) to a copy of the weight."""
        self.weight = self.weight + change

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., inputs) to (..., outputs)."""
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class DecoderLayer(nn.Module):
    """Attention and perceptron with experts beside their linears."""

    def __init__(self, layer: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = Norm(layer.get_submodule("input_layernorm"))
        self.norm2 = Norm(layer.get_submodule("post_attention_layernorm"))
        self.linears = nn.ModuleDict(
            {
                leaf(site): Product(layer.get_submodule(site))
                for sites in GROUPS.values()
                for site in sites
            }
        )

    def forward(
        self,
        hidden: Tensor,
        experts: LayerExperts | None,
        mu: Tensor | None,
        positions: Positions,
        past: Pair | None,
        last: bool,
    ) -> tuple[Tensor, Pair]:
        """Run one layer.

        Parameters
        ----------
        hidden
            (batch, rows, width).
        experts, mu
            See `LayerExperts.answers`.
        positions
            Of the rows.
        past
            Keys and values of the rows before these, as this method returned them; batch or 1.
        last
            Whether nothing but the last row is needed from here on.

        Returns
        -------
        tuple
            hidden (batch, rows or 1, width), and keys and values of all rows so far.
        """
        mixed, pair = self._attend(self.norm1(hidden), experts, mu, positions, past, last)
        hidden = hidden[:, -1:] if last else hidden
        (attended,) = self._group("o", mixed, experts, mu)
        hidden = hidden + attended
        gate, up = self._group("gate_up", self.norm2(hidden), experts, mu)
        (changed,) = self._group("down", nn.functional.silu(gate) * up, experts, mu)
        return hidden + changed, pair

    def _group(
        self, group: str, x: Tensor, experts: LayerExperts | None, mu: Tensor | None
    ) -> list[Tensor]:
        sites = GROUPS[group]
        found: list[Tensor] = [self.linears[leaf(site)](x) for site in sites]
        if experts is None:
            return found
        answers = experts.answers(group, x, mu)
        return [
            experts.add(leaf(site), y, answer)
            for site, y, answer in zip(sites, found, answers, strict=True)
        ]

    def _attend(
        self,
        normed: Tensor,
        experts: LayerExperts | None,
        mu: Tensor | None,
        positions: Positions,
        past: Pair | None,
        last: bool,
    ) -> tuple[Tensor, Pair]:
        """Rows of all heads (batch, rows or 1, heads * head width), and keys and values."""
        query, key, value = self._projected(normed, experts, mu, last)
        cos, sin, mask = positions.cos, positions.sin, positions.mask
        key = _rotated(key, cos, sin).transpose(1, 2)
        value = value.transpose(1, 2)
        if past is not None:
            before = [part.expand(key.shape[0], -1, -1, -1) for part in past]
            key, value = (torch.cat(pair, 2) for pair in zip(before, (key, value), strict=True))
        runs = positions.runs
        if last:
            cos, sin, mask, runs = cos[-1:], sin[-1:], mask[-1:], ()
        scale = self.heads.width**-0.5
        query = _rotated(query, cos * scale, sin * scale).transpose(1, 2)
        if len(runs) < 2:
            return self._mixed(query, key, value, mask), (key, value)
        parts = [
            self._mixed(
                query[:, :, run.start : run.stop],
                key[:, :, : run.seen],
                value[:, :, : run.seen],
                mask[run.start : run.stop, : run.seen],
            )
            for run in runs
        ]
        return torch.cat(parts, 1), (key, value)

    def _projected(
        self, normed: Tensor, experts: LayerExperts | None, mu: Tensor | None, last: bool
    ) -> list[Tensor]:
        """Query of the last row or of all, key and value: (batch, rows, heads, head width)."""
        sites = GROUPS["qkv"]
        answers = None if experts is None else experts.answers("qkv", normed, mu)
        found = []
        for number, site in enumerate(sites):
            some = slice(-1, None) if last and number == 0 else slice(None)
            y: Tensor = self.linears[leaf(site)](normed[:, some])
            if experts is not None and answers is not None:
                y = experts.add(leaf(site), y, answers[number][:, some])
            found.append(y.reshape(*y.shape[:2], -1, self.heads.width))
        return found

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Attention; the queries that share a key are rows of one product."""
        batch, heads, rows, width = query.shape
        share = (batch, self.heads.keys, -1, width)
        scores = query.reshape(share) @ key.transpose(2, 3)
        several = scores.reshape(batch, heads, rows, -1).float() + mask
        weights = several.softmax(3).to(value.dtype).reshape(scores.shape)
        mixed = (weights @ value).reshape(batch, heads, rows, width)
        return mixed.transpose(1, 2).flatten(2)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x (batch, rows, heads, head width) by the angles of its rows."""
    first, second = x.chunk(2, dim=3)
    cos, sin = cos[:, None].to(x.dtype), sin[:, None].to(x.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=3)
