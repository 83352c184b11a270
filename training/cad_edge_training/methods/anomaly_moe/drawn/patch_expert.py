"""Patch experts: a noisy bottleneck and blocks with linear attention (paper Eq. 5)."""

from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn import functional

from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.weights import (
    Weights,
    cosine_distance,
    draw_narrow,
    draw_norm,
    dropped,
    linear,
    norm,
)

HIDDEN = 4  # width of hidden layers over that of tokens
SMALLEST_SUM = 1e-6  # of keys, should all of them be at the end of elu


def draw_patch(config: Config, layout: Layout, generator: Generator) -> dict[str, Tensor]:
    """Draw one expert; linear maps from and to features only where those are not `width` wide."""
    width, hidden = config.width, HIDDEN * config.width
    found: dict[str, Tensor] = {}
    if not _is_as_wide(config, layout):
        found |= draw_narrow("in", layout.features, width, generator)
        for number, channels in enumerate(layout.channels):
            found |= draw_narrow(f"out.{number}", width, channels, generator)
    found |= draw_narrow("bottleneck.0", width, hidden, generator)
    found |= draw_narrow("bottleneck.1", hidden, width, generator)
    for block in range(config.depth):
        found |= draw_norm(f"block.{block}.norm.0", width)
        found |= draw_narrow(f"block.{block}.qkv", width, 3 * width, generator)
        found |= draw_narrow(f"block.{block}.proj", width, width, generator)
        found |= draw_norm(f"block.{block}.norm.1", width)
        found |= draw_narrow(f"block.{block}.mlp.0", width, hidden, generator)
        found |= draw_narrow(f"block.{block}.mlp.1", hidden, width, generator)
    return found


def _is_as_wide(config: Config, layout: Layout) -> bool:
    return set(layout.channels) == {config.width}


def patch_error(weights: Weights, features: Tensor, config: Config, layout: Layout) -> Tensor:
    """Error of every cell: 1 - cosine, the mean over groups.

    Parameters
    ----------
    weights
        As `draw_patch` names them.
    features
        (n, d, h, w) float32, standardised.

    Returns
    -------
    Tensor
        (n, h·w), in [0, 2].
    """
    maps, _ = reconstruct_patches(weights, features, config, layout)
    return group_distances(maps, features, layout).mean(dim=1)


def reconstruct_patches(
    weights: Weights, features: Tensor, config: Config, layout: Layout, noise: float = 0.0
) -> tuple[list[Tensor], Tensor]:
    """Reconstruct the features of every group, from all of them together.

    As published the input is the mean of all target maps; groups that are not all `width` wide are
    joined and mapped. Register and CLS tokens take no part, unlike as released.

    Parameters
    ----------
    noise
        Share that dropout takes at three places of the bottleneck, as released; the Gaussian noise
        of Eq. 5 is absent there.

    Returns
    -------
    tuple
        (n, h·w, channels) of each group; and the mean over cells (n, width) of the last block.
    """
    tokens = features.flatten(2).transpose(1, 2)
    if _is_as_wide(config, layout):
        tokens = torch.stack(torch.split(tokens, list(layout.channels), dim=-1)).mean(0)
    else:
        tokens = linear(weights, "in", tokens)
    hidden = functional.gelu(linear(weights, "bottleneck.0", dropped(tokens, noise)))
    tokens = dropped(linear(weights, "bottleneck.1", dropped(hidden, noise)), noise)
    outputs = []
    for block in range(config.depth):
        tokens = _block(weights, f"block.{block}", tokens, config.heads)
        outputs.append(tokens)
    maps = []
    for number, members in enumerate(_by_group(outputs, len(layout.channels))):
        mean = torch.stack(members).mean(0)
        as_wide = _is_as_wide(config, layout)
        maps.append(mean if as_wide else linear(weights, f"out.{number}", mean))
    return maps, tokens.mean(dim=1)


def _by_group(outputs: list[Tensor], groups: int) -> list[list[Tensor]]:
    """Pair outputs with groups, the last output with the first blocks; each group has a run."""
    backwards = outputs[::-1]
    bounds = [group * len(outputs) // groups for group in range(groups + 1)]
    return [backwards[first : max(last, first + 1)] for first, last in pairwise(bounds)]


def group_distances(maps: list[Tensor], features: Tensor, layout: Layout) -> Tensor:
    """1 - cosine (n, groups, h·w) between maps (n, h·w, channels) and features (n, d, h, w)."""
    targets = torch.split(features.flatten(2).transpose(1, 2), list(layout.channels), dim=-1)
    pairs = zip(maps, targets, strict=True)
    return torch.stack([cosine_distance(one, target) for one, target in pairs], dim=1)


def _block(weights: Weights, name: str, tokens: Tensor, heads: int) -> Tensor:
    count, length, width = tokens.shape
    qkv = linear(weights, f"{name}.qkv", norm(weights, f"{name}.norm.0", tokens))
    split = qkv.reshape(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    seen = linear_attention(split[0], split[1], split[2])
    seen = seen.transpose(1, 2).reshape(count, length, width)
    tokens = tokens + linear(weights, f"{name}.proj", seen)
    hidden = linear(weights, f"{name}.mlp.0", norm(weights, f"{name}.norm.1", tokens))
    return tokens + linear(weights, f"{name}.mlp.1", functional.gelu(hidden))


def linear_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention φ(q)·(Σ φ(k)vᵀ) / (φ(q)·Σ φ(k)) with φ = elu + 1, linear in the number of tokens.

    Parameters
    ----------
    queries, keys, values
        (n, heads, tokens, channels).
    """
    queries, keys = functional.elu(queries) + 1, functional.elu(keys) + 1
    seen = queries @ (keys.transpose(-1, -2) @ values)
    total = queries @ keys.sum(dim=-2).unsqueeze(-1)
    return seen / total.clamp(min=SMALLEST_SUM)
