"""What experts look at: feature maps of groups of blocks on one grid."""

from collections.abc import Mapping

import torch
from torch import Tensor

from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.patch_features import grid_of, to_grid


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
