"""From hidden states to score and map, as parts that a graph has all or some of."""

import torch
from torch import Tensor, nn

from cad_edge_export.fused_task import ModulePrecision
from cad_edge_export.fusions.cdad.fast_network import (
    FastAMN,
    FastUNet,
    Grid,
    blocks_of,
    halved,
    step_biases,
)
from cad_edge_export.trunk import enter, folded, in_precision
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.methods.cdad.model import CDAD
from cad_edge_training.methods.cdad.sampler import begin
from cad_edge_training.methods.cdad.schedule import SamplingPlan
from cad_edge_training.methods.cdad.unet import UNet
from cad_edge_training.patch_features import highest, patch_features


class LatentTrunk(nn.Module):
    """Rest of the backbone: hidden state after block ``first`` -> latents, float32."""

    matrix: Tensor
    bias: Tensor

    def __init__(self, model: CDAD, first: int, precision: ModulePrecision) -> None:
        super().__init__()
        self.backbone = in_precision(folded(model.backbone), precision)
        self.blocks, self.first, self.precision = model.config.blocks, first, precision
        self.register_buffer("matrix", model.space.matrix.T[:, :, None, None].contiguous())
        self.register_buffer("bias", model.space.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map a hidden state, float32 whatever the backbone's precision, to (n, c, h, w)."""
        states = {self.first: hidden}
        inner = hidden.half() if self.precision == "fp16" else hidden
        for index in range(self.first + 1, self.blocks[-1] + 1):
            inner = self.backbone.block(index, inner)
            states[index] = inner.float()
        features = patch_features(self.backbone, states, self.blocks)
        return nn.functional.conv2d(features, self.matrix, self.bias)


class Condition(nn.Module):
    """hidden, noise -> latents, x as the first step wants it, and what AMN says of the latents."""

    def __init__(self, model: CDAD, first: int, precision: ModulePrecision) -> None:
        super().__init__()
        self.trunk = LatentTrunk(model, first, precision)
        self.amn = _in_precision(FastAMN(model.network.amn), precision)
        self.plan, self.precision = model.sampling, precision

    def forward(self, hidden: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look at frames; all that comes out is float32."""
        z = self.trunk(hidden)
        added: Tensor = self.amn(_as(z, self.precision))
        return z, begin(z, noise, self.plan), added.float()


class Denoise(nn.Module):
    """One step, whose numbers are inputs: x, added, biases, keep, take -> x of the next."""

    def __init__(self, unet: UNet, grid: Grid, precision: ModulePrecision) -> None:
        super().__init__()
        self.unet = _in_precision(FastUNet(unet, grid), precision)
        self.widths = [one.conv_in.out_channels for one in blocks_of(unet)]
        self.precision = precision

    def forward(
        self, x: Tensor, added: Tensor, biases: Tensor, keep: Tensor, take: Tensor
    ) -> Tensor:
        """Step; biases (1, widths of all blocks, 1, 1) from `step_tensors`."""
        each = torch.split(_as(biases, self.precision), self.widths, dim=1)
        predicted: Tensor = self.unet(_as(x, self.precision), each, _as(added, self.precision))
        return keep * x + take * predicted.float()


class UnrolledSampler(nn.Module):
    """All steps of a plan with their numbers as constants: x, added -> restored latents."""

    def __init__(
        self, unet: UNet, plan: SamplingPlan, grid: Grid, precision: ModulePrecision
    ) -> None:
        super().__init__()
        self.unet = _in_precision(FastUNet(unet, grid), precision)
        self.plan, self.precision = plan, precision
        self.tables = [[_as(bias, precision) for bias in step] for step in step_biases(unet, plan)]

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        """Restore (n, c, h, w)."""
        told = _as(added, self.precision)
        for step, biases in zip(self.plan.steps, self.tables, strict=True):
            predicted: Tensor = self.unet(_as(x, self.precision), biases, told)
            x = step.keep * x + step.take * predicted.float()
        return x


class ReconstructionScore(nn.Module):
    """latents, restored -> score, anomaly_map."""

    rows: Tensor
    columns: Tensor

    def __init__(self, model: CDAD) -> None:
        super().__init__()
        recipe, config, grid = model.backbone.recipe, model.config, grid_of(model)
        self.share = config.share
        rows = map_matrix(recipe.height, grid[0], config.smoothing)
        columns = map_matrix(recipe.width, grid[1], config.smoothing).T.copy()
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("columns", torch.from_numpy(columns))

    def forward(self, latents: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Compare (n, c, h, w) with the part as it would be if it were good."""
        gap = latents - restored
        cells = torch.sqrt((gap * gap).sum(dim=1))
        return highest(cells.flatten(1), self.share), self.rows @ cells @ self.columns


class Reconstruction(nn.Module):
    """hidden, noise -> score, anomaly_map in one graph."""

    def __init__(self, model: CDAD, first: int, precision: ModulePrecision) -> None:
        super().__init__()
        self.condition = Condition(model, first, precision)
        self.sampler = UnrolledSampler(
            model.network.unet, model.sampling, grid_of(model), precision
        )
        self.judge = ReconstructionScore(model)

    def forward(self, hidden: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames by what the entry gives of them."""
        z, x, added = self.condition(hidden, noise)
        found: tuple[Tensor, Tensor] = self.judge(z, self.sampler(x, added))
        return found


class SelfContainedReconstruction(nn.Module):
    """image -> score, anomaly_map with everything as constants."""

    noise: Tensor

    def __init__(self, model: CDAD, precision: ModulePrecision) -> None:
        super().__init__()
        self.reconstruction = Reconstruction(model, -1, precision)
        self.register_buffer("noise", model.noise)
        self.precision = precision

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames (batch, height, width, 3) uint8."""
        hidden = enter(self.reconstruction.condition.trunk.backbone, image, self.precision)
        found: tuple[Tensor, Tensor] = self.reconstruction(hidden.float(), self.noise)
        return found


def step_tensors(model: CDAD) -> list[dict[str, Tensor]]:
    """Return biases, keep and take of every step as `Denoise` takes them, float32."""
    tables = step_biases(model.network.unet, model.sampling)
    return [
        {
            "biases": torch.cat(biases, dim=1),
            "keep": torch.tensor([step.keep]),
            "take": torch.tensor([step.take]),
        }
        for step, biases in zip(model.sampling.steps, tables, strict=True)
    ]


def grid_of(model: CDAD) -> Grid:
    """Height and width of the latents."""
    return int(model.noise.shape[2]), int(model.noise.shape[3])


def _as(value: Tensor, precision: ModulePrecision) -> Tensor:
    return value.half() if precision == "fp16" else value


def _in_precision(module: nn.Module, precision: ModulePrecision) -> nn.Module:
    return halved(module) if precision == "fp16" else module
