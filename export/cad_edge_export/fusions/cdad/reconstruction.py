"""From hidden states to score and map, as parts that a graph has all or some of."""

import torch
from torch import Tensor, nn

from cad_edge_export.fused_task import ModulePrecision
from cad_edge_export.fusions.cdad.feature_parts import feature_parts
from cad_edge_export.fusions.cdad.graph_parts import GraphParts
from cad_edge_export.fusions.cdad.stable_diffusion.parts import stable_diffusion_parts
from cad_edge_export.trunk import enter
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.cdad.model import CDAD
from cad_edge_training.methods.cdad.sampler import begin
from cad_edge_training.methods.cdad.stable_diffusion.form import StableDiffusionForm


def parts_of(model: CDAD, first: int, precision: ModulePrecision) -> GraphParts:
    """Rewrite a model of any form; hidden states are those after block ``first``."""
    if isinstance(model.form, StableDiffusionForm):
        return stable_diffusion_parts(model, first, precision)
    return feature_parts(model, first, precision)


class Condition(nn.Module):
    """hidden, noise -> latents, x as the first step wants it, and what AMN says of the part.

    AMN that sees pictures gets the frame besides.
    """

    def __init__(self, parts: GraphParts) -> None:
        super().__init__()
        self.trunk, self.amn = parts.trunk, parts.amn
        self.plan, self.precision = parts.plan, parts.precision

    def forward(self, hidden: Tensor, noise: Tensor, *frame: Tensor) -> tuple[Tensor, ...]:
        """Look at frames; all that comes out is float32."""
        z = self.trunk(hidden)
        added: Tensor = self.amn(frame[0] if frame else _as(z, self.precision))
        return z, begin(z, noise, self.plan), added.float()


class Denoise(nn.Module):
    """One step, whose numbers are inputs: x, added, biases, keep, take -> x of the next."""

    def __init__(self, parts: GraphParts) -> None:
        super().__init__()
        self.unet, self.widths, self.precision = parts.unet, parts.widths, parts.precision

    def forward(
        self, x: Tensor, added: Tensor, biases: Tensor, keep: Tensor, take: Tensor
    ) -> Tensor:
        """Step; biases (1, widths of all blocks, 1, 1) from `step_tensors`."""
        each = torch.split(_as(biases, self.precision), self.widths, dim=1)
        predicted: Tensor = self.unet(_as(x, self.precision), each, _as(added, self.precision))
        return keep * x + take * predicted.float()


class UnrolledSampler(nn.Module):
    """All steps of a plan with their numbers as constants: x, added -> restored latents."""

    def __init__(self, parts: GraphParts) -> None:
        super().__init__()
        self.unet, self.plan, self.precision = parts.unet, parts.plan, parts.precision
        self.tables = [[_as(bias, parts.precision) for bias in step] for step in parts.tables]

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        """Restore (n, c, h, w)."""
        told = _as(added, self.precision)
        for step, biases in zip(self.plan.steps, self.tables, strict=True):
            predicted: Tensor = self.unet(_as(x, self.precision), biases, told)
            x = step.keep * x + step.take * predicted.float()
        return x


class Reconstruction(nn.Module):
    """hidden, noise -> score, anomaly_map in one graph; with the frame as `Condition` has it."""

    def __init__(self, parts: GraphParts) -> None:
        super().__init__()
        self.condition, self.sampler = Condition(parts), UnrolledSampler(parts)
        self.judge = parts.judge

    def forward(self, hidden: Tensor, noise: Tensor, *frame: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames by what the entry gives of them."""
        z, x, added = self.condition(hidden, noise, *frame)
        found: tuple[Tensor, Tensor] = self.judge(z, self.sampler(x, added))
        return found


class SelfContainedReconstruction(nn.Module):
    """image -> score, anomaly_map with everything as constants."""

    noise: Tensor

    def __init__(self, model: CDAD, precision: ModulePrecision) -> None:
        super().__init__()
        parts = parts_of(model, -1, precision)
        self.reconstruction = Reconstruction(parts)
        self.register_buffer("noise", model.noise)
        self.sees_pictures, self.precision = parts.sees_pictures, precision

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames (batch, height, width, 3) uint8."""
        backbone = self.reconstruction.condition.trunk.backbone
        assert isinstance(backbone, Backbone)
        hidden = enter(backbone, image, self.precision).float()
        frame = (image,) if self.sees_pictures else ()
        found: tuple[Tensor, Tensor] = self.reconstruction(hidden, self.noise, *frame)
        return found


def step_tensors(parts: GraphParts) -> list[dict[str, Tensor]]:
    """Return biases, keep and take of every step as `Denoise` takes them, float32."""
    return [
        {
            "biases": torch.cat(biases, dim=1),
            "keep": torch.tensor([step.keep]),
            "take": torch.tensor([step.take]),
        }
        for step, biases in zip(parts.plan.steps, parts.tables, strict=True)
    ]


def _as(value: Tensor, precision: ModulePrecision) -> Tensor:
    return value.half() if precision == "fp16" else value
