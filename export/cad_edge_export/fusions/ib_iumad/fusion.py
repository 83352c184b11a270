"""IB-IUMAD fused: one graph for all products, which takes the range of a product's depth alone.

Exact rewrites (METHODS 5.3): the backbone is cut after its last stage end, and runs image and depth
as one batch; the image's first blocks are those of the entry, which has recognised the product;
resizing, map and score are products with constant matrices; the network's are in
`cad_edge_export.fusions.ib_iumad.reconstruction`.
"""

import torch
from torch import Tensor, nn

from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.fusion import Fusion
from cad_edge_export.fusions.ib_iumad.reconstruction import FastNetwork
from cad_edge_export.resizing import Taps, aligned_matrix, box_matrix, joined
from cad_edge_export.trunk import enter, entry_stage, folded, image_input, in_precision
from cad_edge_training.backbones import Backbone, weights_sha256
from cad_edge_training.gaussian import Resize
from cad_edge_training.memory_bank import Whitening
from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.frozen import (
    STRIDE,
    depth_as_image,
    share_measured,
    stage_ends,
)
from cad_edge_training.methods.ib_iumad.learn import require_network
from cad_edge_training.methods.ib_iumad.model import (
    DEPTH_RANGE,
    DEVIATION,
    MEAN,
    NETWORK,
    network_of,
    scaling_of,
    whitening_of,
)
from cad_edge_training.methods.ib_iumad.whitening import Residuals, distances

OUTPUTS = ("score", "anomaly_map")
RGB, DEPTH = "rgb", "depth"
WHITENING, WHITENING_MEAN = "whitening", "whitening_mean"
"""Tensors of a product: (c, c) and (c,) float32."""


def shared(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """Entry, and one graph for the rest that all products have in common."""
    config = Config.model_validate(task.artifact.hyperparameters)
    tensors = task.model_tensors()
    require_network(tensors)
    first = entry(backbone, config, precision)
    own = bound_tensors(task, backbone)
    module = FromEntry(backbone, config, tensors, precision)
    inputs = []
    if RGB in config.modalities:
        with torch.inference_mode():
            _, hidden, early = first.module(first.inputs[0].example)
        inputs += [
            GraphInput("hidden", "0/hidden", hidden.clone(), (0,)),
            GraphInput("early", "0/early", early.clone(), (0,)),
        ]
    if DEPTH in config.modalities:
        bound = torch.from_numpy(own[DEPTH_RANGE])
        inputs += [depth_input(backbone), GraphInput(DEPTH_RANGE, f"tensor/{DEPTH_RANGE}", bound)]
    if config.residual == "whitened":
        inputs += [
            GraphInput(name, f"tensor/{name}", torch.from_numpy(own[name]))
            for name in (WHITENING_MEAN, WHITENING)
        ]
    key = f"ib_iumad {backbone.identity.sha256} {backbone.recipe} {config} {precision} "
    stage = StageModule(module, tuple(inputs), OUTPUTS, key + shared_weights_sha256(tensors))
    return FusedTask((first, stage), own)


def fused(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """One self-contained graph: image [, depth] -> score, map."""
    config = Config.model_validate(task.artifact.hyperparameters)
    tensors = task.model_tensors()
    require_network(tensors)
    own = bound_tensors(task, backbone)
    module = SelfContainedReconstruction(backbone, config, tensors, own, precision)
    inputs = {RGB: image_input(backbone), DEPTH: depth_input(backbone)}
    given = tuple(inputs[name] for name in config.modalities)
    return FusedTask((StageModule(module, given, OUTPUTS),))


def entry(backbone: Backbone, config: Config, precision: ModulePrecision) -> StageModule:
    """First stage of every engine and of the selector; it gives the early stages' features."""
    last = max(backbone.routing_blocks)
    blocks = tuple(end for end in stage_ends(backbone) if end <= last)
    taps = Taps(blocks, backbone.recipe.height // STRIDE, config.resize)
    return entry_stage(backbone, last, precision, taps)


def bound_tensors(task: LearnedTask, backbone: Backbone) -> Tensors:
    """Tensors that a product's engine binds: range of depth, and how its residuals are whitened."""
    config = Config.model_validate(task.artifact.hyperparameters)
    found = {name: value for name, value in task.tensors.items() if name == DEPTH_RANGE}
    tensors = task.model_tensors()
    network, scaling = network_of(backbone, config, tensors), scaling_of(config, tensors)
    whitening = whitening_of(config, network, scaling, task.tensors)
    if whitening is not None:
        found |= {
            WHITENING_MEAN: whitening.mean.numpy(),
            WHITENING: whitening.matrix.numpy(),
        }
    return found


def depth_input(backbone: Backbone) -> GraphInput:
    """Return the input ``depth``, float32 (batch, height, width) in the sensor's units."""
    example = torch.ones(2, backbone.recipe.height, backbone.recipe.width)
    return GraphInput("depth", "frame/depth", example, (0,))


def shared_weights_sha256(tensors: Tensors) -> str:
    """sha256 of what all products share in a graph."""
    shared_ones = (NETWORK, MEAN, DEVIATION)
    return weights_sha256(
        {n: torch.from_numpy(one) for n, one in tensors.items() if n.startswith(shared_ones)}
    )


class MultiscaleTrunk(nn.Module):
    """Blocks of the backbone up to its last stage end, with features on one grid."""

    def __init__(self, backbone: Backbone, precision: ModulePrecision, resize: Resize) -> None:
        super().__init__()
        self.resize: Resize = resize
        self.backbone = in_precision(folded(backbone), precision)
        self.precision, self.ends = precision, stage_ends(backbone)
        self.cells = backbone.recipe.height // STRIDE

    def stem(self, image: Tensor) -> Tensor:
        """Enter with an image (batch, height, width, 3) uint8 or float, values 0..255."""
        return enter(self.backbone, image, self.precision)

    def run(self, hidden: Tensor, first: int, last: int) -> tuple[Tensor, list[Tensor]]:
        """Run blocks first..last; return the hidden state, and features of stage ends there."""
        found = []
        for index in range(first, last + 1):
            hidden = self.backbone.block(index, hidden)
            if index in self.ends:
                found.append(hidden.float())
        return hidden, found

    def early(self, maps: list[Tensor]) -> Tensor:
        """Features on the grid of the last stage, joined."""
        return joined(maps, self.cells, self.resize)


def tokens_of(grid: Tensor) -> Tensor:
    """Make tokens (batch, n, channels) of a grid (batch, channels, h, w)."""
    return grid.flatten(2).transpose(1, 2)


class ReconstructionScore(nn.Module):
    """Tokens of every modality -> score, map."""

    grow: Tensor
    window: Tensor

    def __init__(
        self, backbone: Backbone, config: Config, tensors: Tensors, precision: ModulePrecision
    ) -> None:
        super().__init__()
        self.config, self.precision = config, precision
        network = network_of(backbone, config, tensors)
        self.network = None if network is None else FastNetwork(network)
        if self.network is not None and self._halves:
            self.network.half()
        self.side = backbone.recipe.height // STRIDE
        for name, (mean, deviation) in scaling_of(config, tensors).items():
            self.register_buffer(f"factor_{name}", 1 / deviation)
            self.register_buffer(f"offset_{name}", -mean / deviation)
        size = backbone.recipe.height
        grow = aligned_matrix(size, self.side)
        self.register_buffer("grow", grow)
        self.register_buffer("window", box_matrix(size, STRIDE) @ grow)

    def forward(
        self, tokens: dict[str, Tensor], measured: Tensor | None, whitening: Whitening | None
    ) -> tuple[Tensor, Tensor]:
        """Judge frames by tokens (batch, n, channels); ``measured`` is (batch, n)."""
        scaled = {
            name: one * getattr(self, f"factor_{name}") + getattr(self, f"offset_{name}")
            for name, one in tokens.items()
        }
        found = Residuals(self._gaps(scaled), measured if DEPTH in self.config.targets else None)
        cells = found.lengths() if whitening is None else distances(found, whitening)
        grid = cells.reshape(-1, self.side, self.side)
        means = self.window @ grid @ self.window.T
        return means.flatten(1).amax(dim=1), self.grow @ grid @ self.grow.T

    def _gaps(self, scaled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Subtract what is restored from what was seen, by modality."""
        targets = {name: scaled[name] for name in self.config.targets}
        if self.network is None:
            return targets
        given = {n: one.half() for n, one in scaled.items()} if self._halves else scaled
        restored = self.network(given).float().chunk(len(targets), dim=-1)
        return {
            name: one - part for (name, one), part in zip(targets.items(), restored, strict=True)
        }

    @property
    def _halves(self) -> bool:
        return self.precision == "fp16"


class FromEntry(nn.Module):
    """What the entry gives of the image, and depth -> score, map."""

    def __init__(
        self, backbone: Backbone, config: Config, tensors: Tensors, precision: ModulePrecision
    ) -> None:
        super().__init__()
        self.trunk = MultiscaleTrunk(backbone, precision, config.resize)
        self.judge = ReconstructionScore(backbone, config, tensors, precision)
        self.modalities, self.last = config.modalities, max(backbone.routing_blocks)
        self.whitened = config.residual == "whitened"

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames by ``hidden`` and ``early``, ``depth`` and its range, mean and whitening.

        Each is there if it is looked at, or used.
        """
        hidden, early, measured, whitening = [], [], None, None
        if self.whitened:
            whitening = Whitening(*given[-2:])
            given = given[:-2]
        if RGB in self.modalities:
            hidden.append(given[0].half() if self.trunk.precision == "fp16" else given[0])
            early.append(given[1])
        if DEPTH in self.modalities:
            values, known = depth_as_image(given[-2], given[-1])
            measured = share_measured(known)
            state = self.trunk.stem(as_colour(values))
            state, maps = self.trunk.run(state, 0, self.last)
            hidden.append(state)
            early.append(self.trunk.early(maps))
        state, maps = self.trunk.run(torch.cat(hidden), self.last + 1, self.trunk.ends[-1])
        grid = torch.cat((torch.cat(early), self.trunk.early(maps)), dim=1)
        return _judged(self.judge, self.modalities, tokens_of(grid), measured, whitening)


class SelfContainedReconstruction(nn.Module):
    """image [, depth] -> score, map with everything as constants."""

    depth_range: Tensor

    def __init__(
        self,
        backbone: Backbone,
        config: Config,
        tensors: Tensors,
        own: Tensors,
        precision: ModulePrecision,
    ) -> None:
        super().__init__()
        self.trunk = MultiscaleTrunk(backbone, precision, config.resize)
        self.judge = ReconstructionScore(backbone, config, tensors, precision)
        self.modalities = config.modalities
        for name, value in own.items():
            self.register_buffer(name, torch.from_numpy(value))

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames (batch, height, width, 3) uint8 and (batch, height, width) float32."""
        shown, measured = [], None
        if RGB in self.modalities:
            shown.append(given[0].float())
        if DEPTH in self.modalities:
            values, known = depth_as_image(given[-1], self.depth_range)
            measured = share_measured(known)
            shown.append(as_colour(values))
        state = self.trunk.stem(torch.cat(shown))
        _, maps = self.trunk.run(state, 0, self.trunk.ends[-1])
        tokens = tokens_of(self.trunk.early(maps))
        return _judged(self.judge, self.modalities, tokens, measured, self._whitening())

    def _whitening(self) -> Whitening | None:
        found: dict[str, Tensor] = dict(self.named_buffers(recurse=False))
        if WHITENING not in found:
            return None
        return Whitening(found[WHITENING_MEAN], found[WHITENING])


def as_colour(values: Tensor) -> Tensor:
    """Repeat (batch, height, width) for three channels, last."""
    return values[..., None].expand(-1, -1, -1, 3)


def _judged(
    judge: ReconstructionScore,
    modalities: tuple[str, ...],
    tokens: Tensor,
    measured: Tensor | None,
    whitening: Whitening | None,
) -> tuple[Tensor, Tensor]:
    """Take one batch of all modalities, one after another, apart."""
    # The number of frames follows from the batch; chunk would have torch fix it.
    parts = tokens.reshape(len(modalities), -1, *tokens.shape[1:]).unbind(0)
    found: tuple[Tensor, Tensor] = judge(
        dict(zip(modalities, parts, strict=True)), measured, whitening
    )
    return found


class IBIUMADFusion:
    """IB-IUMAD as the exporter sees it."""

    shared = staticmethod(shared)
    fused = staticmethod(fused)
    entry = staticmethod(entry)


FUSION: Fusion[Config] = IBIUMADFusion()
