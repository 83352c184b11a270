"""What a task tells the selector: its images, described by the frozen trunk."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cad_edge.routing import RoutingStatistics, summarise
from cad_edge.schema import Record
from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.backbone import channel_statistics
from cad_edge_training.backbones.descriptor import compact
from cad_edge_training.folds import Folds
from cad_edge_training.learned import Images, views_in
from cad_edge_training.method import HasKeySet
from cad_edge_training.routing_keys import held_out_keys

BATCH = 16  # images at a time through the trunk
KEYS = 196  # patches of the key set, as published (CMPMB)


def routing_statistics(
    backbone: Backbone,
    images: Images,
    folds: Folds,
    config: Record,
    seed: int,
    groups: Sequence[str] | None = None,
) -> RoutingStatistics:
    """Describe images (n, [views,] height, width, 3) by the frozen, un-prompted trunk.

    The descriptor of a sample is the mean of those of its views; its patches are those of all.
    ``groups`` names the group of each sample; None where every one stands for itself.
    """
    descriptors, patches, views = [], [], views_in(images)
    count = max(1, BATCH // views)
    blocks = key_blocks(backbone, config)
    with torch.inference_mode():
        for start in range(0, len(images), count):
            batch = torch.from_numpy(images[start : start + count]).flatten(0, -4)
            states = backbone.run(backbone.normalise(batch), max(*backbone.routing_blocks, *blocks))
            each = describe(backbone, states)
            descriptors.append(each.reshape(-1, views, each.shape[1]).mean(dim=1))
            found = backbone.feature_map(states[blocks[-1]]).flatten(2).transpose(1, 2)
            patches.append(found.reshape(-1, views * found.shape[1], found.shape[2]))
    count = config.keys if isinstance(config, HasKeySet) else KEYS
    keys, distances = held_out_keys(torch.cat(patches), folds, count, seed)
    return summarise(torch.cat(descriptors).double().numpy(), keys, distances, groups)


def key_blocks(backbone: Backbone, config: Record) -> tuple[int, ...]:
    """Blocks whose un-prompted features form the published key set."""
    return config.blocks if isinstance(config, HasKeySet) else backbone.routing_blocks


def describe(backbone: Backbone, states: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """Descriptor (batch, d) of hidden states: channel statistics of the routing blocks.

    Of a wide network it is their sketch.
    """
    parts = [
        channel_statistics(backbone.feature_map(states[block])) for block in backbone.routing_blocks
    ]
    return compact(torch.cat(parts, dim=1))


def describe_images(backbone: Backbone, images: Images) -> NDArray[np.float64]:
    """Descriptors (n, d) of images (n, height, width, 3) uint8 by the frozen, un-prompted trunk."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH])
            states = backbone.run(backbone.normalise(batch), max(backbone.routing_blocks))
            found.append(describe(backbone, states))
    return torch.cat(found).double().numpy()
