"""One category at one input size, as the patch memory sees it: evidence of good and of test parts.

Tensors hold the n held-out parts in the order of their folds, then the m test parts. What a setting
needs is kept, so that settings that share a memory bank share its fits.
"""

import numpy as np
import torch
from torch import Tensor

from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.instruments.command_runner import quiet
from cad_edge_studies.learning_request import request_of
from cad_edge_training.backbones import Backbone
from cad_edge_training.images import read_images
from cad_edge_training.methods.patch_memory.config import Config, MemorySpec
from cad_edge_training.methods.patch_memory.features import Features, extract, fit_banks
from cad_edge_training.methods.patch_memory.held_out import hold_out, parts_of
from cad_edge_training.methods.patch_memory.model import MemoryBank
from cad_edge_training.methods.patch_memory.subspace import fit_subspace, left_out_lengths
from cad_edge_training.patch_features import grid_of

SEED = 0


class Category:
    """Images of a category at the size of ``backbone``, and what was measured on them so far."""

    def __init__(self, task: StreamTask, backbone: Backbone, rate: float) -> None:
        product, recipe = task.samples(), backbone.recipe
        images, groups = read_images(product.train, recipe, quiet), task.groups(product)
        self._request = request_of(task, images, groups, backbone, rate, SEED)
        self._test = read_images([item.path for item in product.test], recipe, quiet)
        self._distances: dict[str, tuple[Tensor, tuple[int, int]]] = {}
        self._lengths: dict[tuple[int, ...], Tensor] = {}
        self.held_out = np.concatenate([held for _, held in self._request.folds.splits()])
        """(n,) place of each held-out part among the good ones."""
        self.defective = np.array([item.anomalous for item in product.test])
        """(m,) which test parts have a defect."""

    def distances(self, spec: MemorySpec) -> tuple[Tensor, tuple[int, int]]:
        """Patch distances (n + m, n_patches) of a memory bank, and the grid of the patches.

        The bank is fitted once per fold and once to all.
        """
        key = f"{spec.name}x{spec.size}"
        if key not in self._distances:
            config = Config(memories=(spec,))
            good, tested = self._extract(config)
            held_out = hold_out(self._request, config, good).evidence.distances[0]
            bank = MemoryBank.of(fit_banks(good, config, SEED), spec)
            both = torch.cat([held_out, bank.distance(tested.banks[spec.name])])
            self._distances[key] = both, grid_of(good.banks[spec.name])
        return self._distances[key]

    def lengths(self, config: Config) -> Tensor:
        """Mahalanobis lengths (n + m,) of the channel statistics of ``config``."""
        blocks = config.statistics_blocks
        if blocks not in self._lengths:
            good, tested = self._extract(config)
            if good.statistics is None or tested.statistics is None:
                raise ValueError("the configuration has no channel statistics")
            rank, shrinkage = config.statistics_rank, config.statistics_shrinkage
            parts = parts_of(self._request.folds, self._request.groups)
            left_out = left_out_lengths(good.statistics, parts, rank, shrinkage)
            fitted = fit_subspace(good.statistics, rank, shrinkage)
            self._lengths[blocks] = torch.cat(
                [left_out[torch.from_numpy(self.held_out)], fitted.length(tested.statistics)]
            )
        return self._lengths[blocks]

    def _extract(self, config: Config) -> list[Features]:
        """Features of good and of test parts."""
        backbone, parts = self._request.backbone, (self._request.images, self._test)
        return [extract(backbone, images, config, quiet) for images in parts]
