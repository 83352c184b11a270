"""One category at one input size, as the patch memory sees it: evidence of good and of test parts.

What a setting needs is kept, so that settings that share a memory bank share its fits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.reporting.progress import quiet
from cad_edge_training.backbones import Backbone
from cad_edge_training.folds import Folds, draw_folds
from cad_edge_training.images import read_images
from cad_edge_training.learned import Images, Request
from cad_edge_training.methods.patch_memory.config import Config, MemorySpec
from cad_edge_training.methods.patch_memory.features import Features, extract, fit_banks
from cad_edge_training.methods.patch_memory.held_out import HeldOut, hold_out, parts_of
from cad_edge_training.methods.patch_memory.model import MemoryBank
from cad_edge_training.methods.patch_memory.subspace import fit_subspace, left_out_lengths
from cad_edge_training.patch_features import grid_of

SEED = 0


@dataclass(frozen=True)
class Distances:
    """Patch distances of one memory bank."""

    held_out: Tensor
    """(n, n_patches) of good parts, in the order of their folds."""
    test: Tensor
    """(m, n_patches)"""
    grid: tuple[int, int]


@dataclass(frozen=True)
class Lengths:
    """Mahalanobis lengths of channel statistics."""

    held_out: Tensor
    """(n,) in the order of the folds."""
    test: Tensor
    """(m,)"""


@dataclass
class Category:
    """Images of a category at the size of ``backbone``, and what was measured on them so far."""

    task: StreamTask
    backbone: Backbone
    rate: float
    _features: dict[str, tuple[Features, Features]] = field(default_factory=dict)
    _distances: dict[str, Distances] = field(default_factory=dict)
    _lengths: dict[tuple[int, ...], Lengths] = field(default_factory=dict)

    @cached_property
    def defective(self) -> NDArray[np.bool_]:
        """Which test parts have a defect, (m,)."""
        return np.array([item.anomalous for item in self.task.samples().test])

    @cached_property
    def _images(self) -> tuple[Images, Images]:
        product, recipe = self.task.samples(), self.backbone.recipe
        tested = [item.path for item in product.test]
        return (
            read_images(product.train, recipe, quiet),
            read_images(tested, recipe, quiet),
        )

    @cached_property
    def _groups(self) -> tuple[str, ...] | None:
        return self.task.groups(self.task.samples())

    @cached_property
    def _folds(self) -> Folds:
        return draw_folds(len(self._images[0]), self.rate, SEED, self._groups)

    def distances(self, spec: MemorySpec) -> Distances:
        """Distances of a memory bank, fitted once per fold and once to all."""
        key = f"{spec.name}x{spec.size}"
        if key not in self._distances:
            config = Config(memories=(spec,))
            good, tested = self._seen(config)
            held = self._hold_out(config, good)
            tensors = fit_banks(good, config, SEED)
            test = MemoryBank.of(tensors, spec).distance(tested.banks[spec.name])
            found = held.evidence.distances[0], test, grid_of(good.banks[spec.name])
            self._distances[key] = Distances(*found)
        return self._distances[key]

    def lengths(self, config: Config) -> Lengths:
        """Lengths under the Gaussian of the channel statistics of ``config``."""
        blocks = config.statistics_blocks
        if blocks not in self._lengths:
            good, tested = self._seen(config)
            if good.statistics is None or tested.statistics is None:
                raise ValueError("the configuration has no channel statistics")
            rank, shrinkage = config.statistics_rank, config.statistics_shrinkage
            parts = parts_of(self._folds, self._groups)
            order = np.concatenate([held for _, held in self._folds.splits()])
            held_out = left_out_lengths(good.statistics, parts, rank, shrinkage)
            test = fit_subspace(good.statistics, rank, shrinkage).length(tested.statistics)
            self._lengths[blocks] = Lengths(held_out[torch.from_numpy(order)], test)
        return self._lengths[blocks]

    def _seen(self, config: Config) -> tuple[Features, Features]:
        key = f"{[spec.name for spec in config.memories]} {config.statistics_blocks}"
        if key not in self._features:
            good, tested = (
                extract(self.backbone, images, config, quiet) for images in self._images
            )
            self._features = {key: (good, tested)}  # one at a time: features are large
        return self._features[key]

    def _hold_out(self, config: Config, features: Features) -> HeldOut:
        request = Request(
            task=self.task.name,
            images=self._images[0],
            backbone=self.backbone,
            folds=self._folds,
            seed=SEED,
            progress=quiet,
            rate=self.rate,
            defective=self._images[0][:0],
            earlier=(),
            workspace=self.task.path,
            groups=self._groups,
        )
        return hold_out(request, config, features)


Categories = Mapping[tuple[str, int], Category]
"""By name and input side in pixels."""
