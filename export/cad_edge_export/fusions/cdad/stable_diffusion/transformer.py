"""The transformers within Stable Diffusion's U-Net, for a graph."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.group_norm import PortableGroupNorm


class SelfAttention(nn.Module):
    """Queries, keys and values as one product, with the scale of attention in it."""

    weight: Tensor

    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - diffusers is untyped
        super().__init__()
        self.heads, self.out = attention.heads, attention.to_out[0]
        linears = (attention.to_q, attention.to_k, attention.to_v)
        self.width = linears[0].out_features
        scale = (self.width // self.heads) ** -0.5
        weights = [one.weight.detach().T for one in linears]
        self.register_buffer("weight", torch.cat((weights[0] * scale, *weights[1:]), dim=1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, cells, width) to the same shape."""
        cells = tokens.shape[1]
        shape = (cells, 3 * self.heads, self.width // self.heads)
        by_head = (tokens @ self.weight).reshape(-1, *shape).transpose(1, 2)
        q, k, v = by_head.chunk(3, dim=1)
        mixed = torch.softmax(q @ k.transpose(2, 3), dim=-1) @ v
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(-1, cells, self.width))
        return out


class TextAttention(nn.Module):
    """Attention to a constant text, whose keys and values are constants."""

    keys: Tensor
    values: Tensor

    def __init__(self, attention: Any, text: Tensor) -> None:  # noqa: ANN401
        super().__init__()
        self.heads, self.query, self.out = attention.heads, attention.to_q, attention.to_out[0]
        self.width = width = attention.to_q.out_features
        with torch.no_grad():
            keys, values = (
                linear(text).reshape(len(text), self.heads, -1)
                for linear in (attention.to_k, attention.to_v)
            )
        scale = (width // self.heads) ** -0.5
        self.register_buffer("keys", (keys * scale).permute(1, 2, 0)[None].contiguous())
        self.register_buffer("values", values.transpose(0, 1)[None].contiguous())

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, cells, width) to the same shape."""
        cells = tokens.shape[1]
        shape = (cells, self.heads, self.width // self.heads)
        q = self.query(tokens).reshape(-1, *shape).transpose(1, 2)
        mixed = torch.softmax(q @ self.keys, dim=-1) @ self.values
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(-1, cells, self.width))
        return out


class FastLayer(nn.Module):
    """A transformer layer: cells, then the text, then a gated feed-forward part."""

    def __init__(self, layer: Any, text: Tensor) -> None:  # noqa: ANN401 - diffusers is untyped
        super().__init__()
        self.norms = nn.ModuleList((layer.norm1, layer.norm2, layer.norm3))
        self.cells, self.text = SelfAttention(layer.attn1), TextAttention(layer.attn2, text)
        self.up, self.down = layer.ff.net[0].proj, layer.ff.net[2]

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, cells, width) to the same shape."""
        for norm, attend in zip(self.norms, (self.cells, self.text), strict=False):
            tokens = tokens + attend(_normed(norm, tokens))
        hidden, gate = self.up(_normed(self.norms[2], tokens)).chunk(2, dim=-1)
        out: Tensor = tokens + self.down(hidden * functional.gelu(gate))
        return out


class FastTransformer(nn.Module):
    """Diffusers' ``Transformer2DModel`` on cells, beside a shortcut."""

    def __init__(self, model: Any, text: Tensor) -> None:  # noqa: ANN401 - diffusers is untyped
        super().__init__()
        self.norm, self.linear = PortableGroupNorm(model.norm), isinstance(model.proj_in, nn.Linear)
        self.enter, self.leave = model.proj_in, model.proj_out
        self.layers = nn.ModuleList(FastLayer(one, text) for one in model.transformer_blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        shape = x.shape[1:]
        hidden = self.norm(x)
        if self.linear:
            tokens = self.enter(hidden.flatten(2).transpose(1, 2))
        else:
            tokens = self.enter(hidden).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        if self.linear:
            tokens = self.leave(tokens)
        cells = tokens.transpose(1, 2).reshape(-1, tokens.shape[2], *shape[1:])
        out: Tensor = x + (cells if self.linear else self.leave(cells))
        return out


def _normed(norm: nn.Module, tokens: Tensor) -> Tensor:
    found: Tensor = norm(tokens.float())
    return found.to(tokens.dtype)
