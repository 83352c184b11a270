"""Weights as flat dictionaries: drawn, named, and applied without a module around them.

An expert is a dictionary of float32 tensors and a function, so that one graph serves any expert of
its level, and weights can be bound to it, stacked, or gathered.
"""

import math
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Generator, Tensor
from torch.nn import functional

Weights: TypeAlias = Mapping[str, Tensor]

NORM_EPS = 1e-8
SMALLEST_LENGTH = 1e-6


def part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """Weights whose names begin with ``prefix`` and a dot, without it."""
    start = f"{prefix}."
    return {name[len(start) :]: value for name, value in weights.items() if name.startswith(start)}


def under(prefix: str, weights: Weights) -> dict[str, Tensor]:
    """Weights with ``prefix`` and a dot before their names, as `part` finds them."""
    return {f"{prefix}.{name}": value for name, value in weights.items()}


def draw_narrow(name: str, inputs: int, outputs: int, generator: Generator) -> dict[str, Tensor]:
    """Linear layer as released: deviation .01, nothing beyond .03, bias 0."""
    weight = torch.empty(outputs, inputs)
    torch.nn.init.trunc_normal_(weight, std=0.01, a=-0.03, b=0.03, generator=generator)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(outputs)}


def draw_by_inputs(
    name: str,
    inputs: int,
    outputs: int,
    generator: Generator,
    kernel: tuple[int, ...] = (),
) -> dict[str, Tensor]:
    """Layer as torch draws it, uniform within 1/sqrt(inputs); linear, or a convolution."""
    bound = 1 / math.sqrt(inputs * math.prod(kernel))
    shape = (outputs, inputs, *kernel)
    return {
        f"{name}.weight": torch.empty(shape).uniform_(-bound, bound, generator=generator),
        f"{name}.bias": torch.empty(outputs).uniform_(-bound, bound, generator=generator),
    }


def draw_norm(name: str, size: int) -> dict[str, Tensor]:
    """LayerNorm that changes nothing else yet."""
    return {f"{name}.weight": torch.ones(size), f"{name}.bias": torch.zeros(size)}


def linear(weights: Weights, name: str, tokens: Tensor) -> Tensor:
    """Apply a linear layer along the last axis; of tokens (n, m, inputs) each its own, if stacked.

    Stacked weights are (n, outputs, inputs) and (n, outputs): those of each image's expert, which
    image routing gathers.
    """
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if weight.dim() == 2:
        return functional.linear(tokens, weight, bias)
    return tokens @ weight.transpose(-1, -2) + bias.unsqueeze(-2)


def norm(weights: Weights, name: str, tokens: Tensor) -> Tensor:
    """Apply a LayerNorm along the last axis; stacked weights are (n, channels), as in `linear`."""
    size = (tokens.shape[-1],)
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if weight.dim() == 1:
        return functional.layer_norm(tokens, size, weight, bias, eps=NORM_EPS)
    plain = functional.layer_norm(tokens, size, eps=NORM_EPS)
    return plain * weight.unsqueeze(-2) + bias.unsqueeze(-2)


def dropped(values: Tensor, share: float) -> Tensor:
    """Dropout of a share of the values; 0 leaves them as they are, for inference."""
    return functional.dropout(values, share) if share else values


def cosine_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - cosine along the last axis; 1 where one of the two is 0."""
    # Lengths are bounded and not increased: exporting drops what it takes for adding nothing.
    lengths = [
        torch.linalg.vector_norm(one, dim=-1).clamp(min=SMALLEST_LENGTH) for one in (first, second)
    ]
    cosine: Tensor = (first * second).sum(-1) / lengths[0] / lengths[1]
    return 1 - cosine
