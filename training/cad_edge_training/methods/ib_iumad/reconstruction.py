"""The reconstruction network of one modality (UniAD, You et al. 2022; IUF, Tang et al. 2024).

Encoder and decoder layers with norms after the residual. What the label branch says multiplies the
encoder's queries, Eq. 3: q = (x + pos) * m_i, k = x + pos, v = x.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) on (batch, tokens, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend; all three (batch, tokens, width), the query's batch may be 1."""
        projected = (self.query(query), self.key(key), self.value(value))
        q, k, v = (by_head(one, self.heads) for one in projected)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


def by_head(tokens: Tensor, heads: int) -> Tensor:
    """Take tokens (batch, n, width) apart: (batch, heads, n, width / heads)."""
    batch, count, width = tokens.shape
    return tokens.reshape(batch, count, heads, width // heads).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linears with ReLU between them."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        out: Tensor = self.down(self.dropout(functional.relu(self.up(tokens))))
        return out


class EncoderLayer(nn.Module):
    """Self-attention, whose queries may be conditioned, and a feed-forward part."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, position: Tensor, condition: Tensor | None) -> Tensor:
        """Map tokens (batch, n, width); condition of the same shape, or None for none."""
        placed = tokens + position
        query = placed if condition is None else placed * condition
        tokens = self.norms[0](tokens + self.dropout(self.attention(query, placed, tokens)))
        out: Tensor = self.norms[1](tokens + self.dropout(self.feed_forward(tokens)))
        return out


class ReconstructionLayer(nn.Module):
    """A learned query asks the encoder's tokens, and its answer the decoder's output so far."""

    def __init__(self, tokens: int, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(tokens, width))
        self.of_memory, self.of_output = Attention(width, heads), Attention(width, heads)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, output: Tensor, memory: Tensor, position: Tensor) -> Tensor:
        """Map output and memory (batch, n, width) to the next output."""
        answer = self.of_memory((self.query + position)[None], memory + position, memory)
        tokens = self.norms[0](self.query + self.dropout(answer))
        found = self.of_output(tokens + position, output + position, output)
        tokens = self.norms[1](tokens + self.dropout(found))
        out: Tensor = self.norms[2](tokens + self.dropout(self.feed_forward(tokens)))
        return out


class ReconstructionNetwork(nn.Module):
    """Tokens of one modality to reconstructions of every depth."""

    def __init__(
        self,
        channels: int,
        tokens: int,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.project_in = nn.Linear(channels, width)
        self.position = nn.Parameter(torch.rand(tokens, width))
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, inner, dropout) for _ in range(layers)
        )
        self.decoder = nn.ModuleList(
            ReconstructionLayer(tokens, width, heads, inner, dropout) for _ in range(layers)
        )

    def layers(self) -> tuple[list[EncoderLayer], list[ReconstructionLayer]]:
        """Return encoder and decoder, layer by layer."""
        return (
            [layer for layer in self.encoder if isinstance(layer, EncoderLayer)],
            [layer for layer in self.decoder if isinstance(layer, ReconstructionLayer)],
        )

    def forward(self, tokens: Tensor, conditions: Sequence[Tensor]) -> list[Tensor]:
        """Reconstruct, and return the outputs of all decoder layers.

        Parameters
        ----------
        tokens
            (batch, n, channels) float32.
        conditions
            One (batch, n, width) for each encoder layer, or none at all.

        Returns
        -------
        list
            (batch, n, width) for each decoder layer.
        """
        memory = self.project_in(tokens)
        for number, layer in enumerate(self.encoder):
            condition = conditions[number] if conditions else None
            memory = layer(memory, self.position, condition)
        output, found = memory, []
        for layer in self.decoder:
            output = layer(output, memory, self.position)
            found.append(output)
        return found
