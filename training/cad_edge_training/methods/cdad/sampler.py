"""Reconstruct latents: noise them, and take the noise off step by step, told what AMN saw.

Classifier-free guidance is left out. It moves e towards e + s (e_with - e_without); in CDAD both
texts are the empty one and both get AMN's condition, so that the difference is 0 whatever s is, and
the second call of the network doubles the time for nothing (METHODS 4.4).

The loop is written out step by step, since the number of steps is a constant: a graph of it has
plain operators only. Of many steps one graph of `denoise_once` may be run again and again instead.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from cad_edge.errors import ArtifactError
from cad_edge_training.methods.cdad.denoiser import Condition, Denoiser
from cad_edge_training.methods.cdad.schedule import SamplingPlan

BiasTables: TypeAlias = tuple[tuple[Tensor, ...], ...]
"""Biases (1, channels) of every block, of every step."""


def bias_tables(unet: Denoiser, plan: SamplingPlan) -> BiasTables:
    """Biases of all steps, which depend on nothing but weights: constants of a graph."""
    device = unet.conv_in.weight.device
    return tuple(unet.time_biases(torch.tensor([step.time], device=device)) for step in plan.steps)


def begin(z: Tensor, noise: Tensor, plan: SamplingPlan) -> Tensor:
    """Noise latents as the sampler's first step wants them.

    Parameters
    ----------
    z
        (n, c, h, w).
    noise
        (n, c, h, w), or (1, c, h, w) for all.

    Raises
    ------
    ArtifactError
        Noise of another shape.
    """
    if noise.shape[1:] != z.shape[1:]:
        raise ArtifactError(
            f"noise of shape {tuple(noise.shape[1:])} does not fit latents of shape "
            f"{tuple(z.shape[1:])}: give noise of the latents' channels and grid"
        )
    return plan.signal * z + plan.noise * noise


def denoise_once(
    unet: Denoiser,
    x: Tensor,
    added: Tensor,
    biases: Sequence[Tensor],
    keep: float | Tensor,
    take: float | Tensor,
) -> Tensor:
    """Take one DDIM step, eta 0: x <- keep x + take prediction; both (n, c, h, w).

    Of a graph that serves all steps, ``keep`` and ``take`` are inputs of one number each.
    """
    moved: Tensor = keep * x + take * unet(x, biases, added)
    return moved


def denoise(
    unet: Denoiser, x: Tensor, added: Tensor, plan: SamplingPlan, tables: BiasTables
) -> Tensor:
    """Take all steps of a plan.

    Parameters
    ----------
    x
        (n, c, h, w), from `begin`.
    added
        (n, width, h, w), from AMN.
    tables
        From `bias_tables` of the same plan.
    """
    for step, biases in zip(plan.steps, tables, strict=True):
        x = denoise_once(unet, x, added, biases, step.keep, step.take)
    return x


def reconstruct(
    unet: Denoiser,
    amn: Condition,
    z: Tensor,
    noise: Tensor,
    plan: SamplingPlan,
    told: Tensor | None = None,
) -> Tensor:
    """Reconstruct latents as those of a good part; equal inputs give equal outputs.

    AMN is called once. What is left at the end has alpha-bar .99915, as the paper ends: .029 of
    the noise stays in it with a network that knows the noise exactly.

    Parameters
    ----------
    z
        (n, c, h, w) float32.
    noise
        (n, c, h, w) or (1, c, h, w); a constant, so that an image's map is always the same.
    plan
        From `schedule.plan`, of the prediction that the network was taught.
    told
        (n, ...), what AMN sees of the parts; their latents if None.

    Raises
    ------
    ArtifactError
        Noise or a grid that does not fit.

    Examples
    --------
    >>> from cad_edge_training.methods.cdad.condition import AMN
    >>> from cad_edge_training.methods.cdad.schedule import plan
    >>> from cad_edge_training.methods.cdad.unet import UNet
    >>> unet, amn, z = UNet(64), AMN(64, 64, (14, 14)), torch.zeros(2, 64, 14, 14)
    >>> reconstruct(unet, amn, z, torch.randn(1, 64, 14, 14), plan(2, 501)).shape
    torch.Size([2, 64, 14, 14])
    """
    added, _ = amn(z if told is None else told)
    return denoise(unet, begin(z, noise, plan), added, plan, bias_tables(unet, plan))
