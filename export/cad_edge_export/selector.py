"""The selector as graphs: the discriminant on the entry's descriptor, or the published key set."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.routing import RoutingStatistics, fit_discriminant, sure_radius
from cad_edge.store.manifest import SelectorKind
from cad_edge_export.fused_task import FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.soundness import require_radii
from cad_edge_export.trunk import (
    enter,
    folded,
    image_input,
    in_precision,
    views_key,
)
from cad_edge_training.backbones import Backbone


class DiscriminantModule(nn.Module):
    """Mahalanobis distance of every descriptor to every task (cad_edge.routing.Discriminant).

    The descriptor of a frame of several views is the mean of theirs.
    """

    def __init__(self, views: int = 1) -> None:
        super().__init__()
        self.views = views

    def forward(self, descriptor: Tensor, matrix: Tensor, bias: Tensor, keys: Tensor) -> Tensor:
        """Give distance (batch, n_tasks) of descriptor (batch * views, d)."""
        if self.views > 1:
            descriptor = descriptor.reshape(-1, self.views, descriptor.shape[1]).mean(1)
        points = descriptor @ matrix + bias
        squares = (points * points).sum(1, keepdim=True) + (keys * keys).sum(1)
        return torch.sqrt((squares - 2 * points @ keys.T).clamp_min(0))


class KeyPatches(nn.Module):
    """image -> patches (batch, n_patches, channels) of the un-prompted trunk."""

    def __init__(self, backbone: Backbone, block: int, precision: ModulePrecision) -> None:
        super().__init__()
        self.backbone, self.block, self.precision = backbone, block, precision

    def forward(self, image: Tensor) -> Tensor:
        """Run the frozen trunk up to the block of the keys."""
        hidden = enter(self.backbone, image, self.precision)
        for index in range(self.block + 1):
            hidden = self.backbone.block(index, hidden)
        return self.backbone.feature_map(hidden.float()).flatten(2).transpose(1, 2)


class KeySet(nn.Module):
    """Mean over patches of the distance to a task's nearest key (UCAD's routing, as a mean).

    The patches of a frame of several views are those of all.
    """

    def __init__(self, views: int = 1) -> None:
        super().__init__()
        self.views = views

    def forward(self, patches: Tensor, keys: Tensor) -> Tensor:
        """Give distance (batch, n_tasks) of patches (batch * views, p, c) to keys (tasks, k, c)."""
        if self.views > 1:
            patches = patches.reshape(-1, self.views * patches.shape[1], patches.shape[2])
        flat = keys.reshape(-1, keys.shape[2])
        products = (flat * flat).sum(1) - 2 * patches @ flat.T
        squares = products + (patches * patches).sum(2, keepdim=True)
        grouped = squares.reshape(*squares.shape[:2], keys.shape[0], keys.shape[1])
        return torch.sqrt(grouped.amin(3).clamp_min(0)).mean(1)


def fuse_selector(
    kind: SelectorKind,
    tasks: Mapping[str, RoutingStatistics],
    backbone: Backbone,
    key_block: int,
    entry: StageModule,
    precision: ModulePrecision,
    views: int = 1,
) -> tuple[FusedTask, dict[str, float]]:
    """Graphs and tensors of the selector for all ``tasks``.

    Parameters
    ----------
    kind
        ``discriminant`` (default of the house) or ``key_set`` (as published).
    key_block
        Block whose patches the keys are.
    entry
        First stage of the engines, which gives ``descriptor``, so that its graph is shared.
    views
        Images of a frame.

    Returns
    -------
    tuple
        The selector; and for the task of each column of ``distance``, in their order, the distance
        up to which a frame surely shows it.

    Raises
    ------
    ArtifactError
        That distance is 0 or no number, since a task's good parts do not differ, or good parts of
        two tasks cannot be told apart.
    """
    if kind == "discriminant":
        return _discriminant(tasks, entry, views)
    names = tuple(sorted(tasks))
    keys = _stacked([tasks[name].keys for name in names])
    radii = {name: sure_radius(tasks[name].key_distances) for name in names}
    require_radii(radii)
    network = in_precision(folded(backbone), precision)
    patches = StageModule(
        KeyPatches(network, key_block, precision),
        (image_input(backbone),),
        ("patches",),
        shared_key=f"keys {backbone.identity.sha256} {backbone.recipe} {key_block} {precision}",
    )
    with torch.inference_mode():
        example = patches.module(patches.inputs[0].example).repeat(views, 1, 1)
    distance = StageModule(
        KeySet(views),
        (
            GraphInput("patches", "0/patches", example, (0,), views=views),
            GraphInput("keys", "tensor/keys", torch.from_numpy(_at_least_two(keys)), (0,)),
        ),
        ("distance",),
        shared_key=f"key set {keys.shape[1:]} {example.shape[1:]}{views_key(views)}",
    )
    return FusedTask((patches, distance), {"keys": keys}, views=views), radii


def _discriminant(
    tasks: Mapping[str, RoutingStatistics], entry: StageModule, views: int
) -> tuple[FusedTask, dict[str, float]]:
    fitted = fit_discriminant(tasks)
    require_radii(dict(zip(fitted.tasks, fitted.radii, strict=True)))
    tensors = fitted.to_tensors()
    width = len(fitted.centre)
    distance = StageModule(
        DiscriminantModule(views),
        (
            GraphInput(
                "descriptor", "0/descriptor", torch.zeros(2 * views, width), (0,), views=views
            ),
            GraphInput("matrix", "tensor/matrix", torch.from_numpy(tensors["matrix"])),
            GraphInput("bias", "tensor/bias", torch.from_numpy(tensors["bias"])),
            GraphInput("keys", "tensor/keys", torch.zeros(3, width), (0,)),
        ),
        ("distance",),
        shared_key=f"discriminant {width}{views_key(views)}",
    )
    radii = dict(zip(fitted.tasks, fitted.radii, strict=True))
    return FusedTask((entry, distance), tensors, views=views), radii


def _stacked(keys: list[np.ndarray]) -> np.ndarray:
    """(n_tasks, k, c) with short sets padded by their first key, which changes no minimum."""
    longest = max(len(one) for one in keys)
    padded = [np.concatenate([one, np.repeat(one[:1], longest - len(one), 0)]) for one in keys]
    return np.stack(padded).astype(np.float32)


def _at_least_two(keys: np.ndarray) -> np.ndarray:
    """Shape example for the exporter, which would take an axis of one for a constant."""
    return np.repeat(keys, 2, axis=0) if len(keys) == 1 else keys
