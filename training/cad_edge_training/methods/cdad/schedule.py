"""The noise schedule, and the coefficients of a deterministic DDIM sampler (METHODS 4.3).

Noise is added as in Stable Diffusion 1.5 (arXiv 2502.19848 keeps its schedule): square roots of
beta grow evenly from .00085 to .012 over 1000 steps. DDIM is Song et al. 2021, Eq. 12, eta 0.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from cad_edge.errors import OptionError

STEPS = 1000  # of the schedule
BETAS = (0.00085, 0.012)  # the first and the last
LAST = 1  # time point that a sampler ends at; its target is time 0
PAPER_NOISED_AT = 999

Prediction: TypeAlias = Literal["x0", "epsilon"]
"""What the network answers: the clean latents, or the noise in them."""

Start: TypeAlias = Literal["matched", "999"]
"""What the sampler begins with: latents as noisy as its first time point says, or as time 999."""


def alpha_bars() -> Tensor:
    """Share of the signal's variance that is left at each time.

    Returns
    -------
    Tensor
        (1000,) float64, falling; the product of 1 - beta up to and with each time.

    Examples
    --------
    >>> round(alpha_bars()[0].item(), 5), round(alpha_bars()[999].sqrt().item(), 4)
    (0.99915, 0.0683)
    """
    low, high = (math.sqrt(beta) for beta in BETAS)
    betas = torch.linspace(low, high, STEPS, dtype=torch.float64).square()
    return torch.cumprod(1 - betas, dim=0)


def noised(z: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Add noise to latents: q(z_t | z) = sqrt(alpha-bar) z + sqrt(1 - alpha-bar) noise.

    Parameters
    ----------
    z, noise
        (n, c, h, w) of any float dtype, which the result has too.
    time
        (n,) int64, each from 0 to 999.
    """
    kept = alpha_bars().to(z.device)[time].reshape(-1, 1, 1, 1)
    return kept.sqrt().to(z.dtype) * z + (1 - kept).sqrt().to(z.dtype) * noise


def time_points(steps: int, first: int) -> tuple[int, ...]:
    """Time points that a sampler calls the network at, evenly spread from ``first`` to 1.

    Raises
    ------
    OptionError
        The number of steps or the first time point is out of range.

    Examples
    --------
    >>> time_points(4, 501)
    (501, 334, 168, 1)
    """
    if not 1 <= steps <= STEPS:
        raise OptionError(f"{steps} sampling steps: give a number from 1 to {STEPS}")
    if not LAST <= first < STEPS:
        raise OptionError(f"a sampler cannot begin at time {first}: give one from 1 to {STEPS - 1}")
    if steps > first:
        raise OptionError(
            f"{steps} sampling steps do not fit into times {first} to {LAST}: give at most {first}"
        )
    if steps == 1:
        return (first,)
    gap = (first - LAST) / (steps - 1)
    return tuple(round(first - number * gap) for number in range(steps))


@dataclass(frozen=True)
class Step:
    """One DDIM step, which is linear: x <- keep x + take prediction."""

    time: int
    """What the network is told."""
    keep: float
    take: float


def ddim_step(time: int, target: int, prediction: Prediction) -> Step:
    """Coefficients that bring x from one time to an earlier one.

    With a = alpha-bar of ``time`` and a' of ``target``: of the noise keep sqrt(a' / a) and take
    sqrt(1 - a') - sqrt(1 - a) sqrt(a' / a); of the clean latents keep r = sqrt((1 - a') / (1 - a))
    and take sqrt(a') - r sqrt(a). It is one step, written for either answer of a network.

    Examples
    --------
    >>> step = ddim_step(901, 801, "epsilon")
    >>> round(step.keep, 5), round(step.take, 5)
    (1.61541, -0.6225)
    """
    bars = alpha_bars()
    now, then = bars[time].item(), bars[target].item()
    if prediction == "epsilon":
        keep = math.sqrt(then / now)
        return Step(time, keep, math.sqrt(1 - then) - math.sqrt(1 - now) * keep)
    keep = math.sqrt((1 - then) / (1 - now))
    return Step(time, keep, math.sqrt(then) - keep * math.sqrt(now))


@dataclass(frozen=True)
class SamplingPlan:
    """All numbers of a sampler: constants of an exported graph."""

    signal: float
    """What latents are times before the first step, and the noise in the next field."""
    noise: float
    steps: tuple[Step, ...]


def plan(
    steps: int, first: int, prediction: Prediction = "x0", start: Start = "matched"
) -> SamplingPlan:
    """Plan a sampler.

    ``start="999"`` is the paper's: latents are noised at time 999 and read as of the first time
    point, which loses amplitude. A network that returns the true noise then finds .577 z of ten
    steps from 901, and .99957 z with ``start="matched"``.

    Parameters
    ----------
    steps
        Calls of the network; the paper has 10.
    first
        Time point of the first call; the paper has 901.

    Raises
    ------
    OptionError
        As `time_points` does.
    """
    times = time_points(steps, first)
    kept = alpha_bars()[times[0] if start == "matched" else PAPER_NOISED_AT].item()
    targets = (*times[1:], 0)
    return SamplingPlan(
        math.sqrt(kept),
        math.sqrt(1 - kept),
        tuple(ddim_step(*pair, prediction) for pair in zip(times, targets, strict=True)),
    )
