"""What experts and router look at: maps of groups of blocks on one grid, and a descriptor."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.vision_transformer import VisionTransformer
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.fitted import GEOMETRY
from cad_edge_training.patch_features import grid_of, to_grid
from cad_edge_training.routing_statistics import describe


def group_maps(backbone: Backbone, config: Config, states: Mapping[int, Tensor]) -> list[Tensor]:
    """Features of every group on the deepest block's grid.

    Parameters
    ----------
    states
        Hidden states by block, from `Backbone.run`.

    Returns
    -------
    list
        (batch, channels, h, w) float32 of each group: the mean of its blocks where they are equally
        wide, as published, and their concatenation where they are not.
    """
    maps = {block: backbone.feature_map(states[block]) for block in config.blocks}
    height, width = grid_of(maps[config.blocks[-1]])
    found = []
    for group in config.groups:
        members = [to_grid(maps[block], height, width) for block in group.blocks]
        alike = len({member.shape[1] for member in members}) == 1
        found.append(torch.stack(members).mean(0) if alike else torch.cat(members, dim=1))
    return found


def features_of(backbone: Backbone, config: Config, states: Mapping[int, Tensor]) -> Tensor:
    """Features (batch, d, h, w) float32 of all groups, one after another."""
    return torch.cat(group_maps(backbone, config, states), dim=1)


def layout_of(backbone: Backbone, config: Config, maps: Sequence[Tensor], numbers: int) -> Layout:
    """Sizes of `group_maps` and of a descriptor of so many ``numbers``."""
    return Layout(
        channels=tuple(int(one.shape[1]) for one in maps),
        grid=grid_of(maps[0]),
        pixels=(backbone.recipe.height, backbone.recipe.width),
        descriptor=numbers,
        geometry=GEOMETRY if config.geometry else 0,
    )


def has_class_token(backbone: Backbone) -> bool:
    """Whether the router sees the class token of the deepest block that is looked at."""
    return isinstance(backbone, VisionTransformer)


def descriptor_of(backbone: Backbone, config: Config, states: Mapping[int, Tensor]) -> Tensor:
    """Describe each image to the router, (batch, D) float32.

    By a transformer's class token after the deepest block that is looked at, where as released it
    is after the last of all; of other networks by the descriptor of the entry.
    """
    if has_class_token(backbone):
        return states[config.blocks[-1]][:, 0].float()
    return describe(backbone, states)
