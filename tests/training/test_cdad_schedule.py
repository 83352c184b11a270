"""Oracles of METHODS 4.3 and 9 (003) for the noise schedule and the sampler's coefficients."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from cad_edge.errors import OptionError
from cad_edge_training.methods.cdad.schedule import (
    SamplingPlan,
    alpha_bars,
    ddim_step,
    noised,
    plan,
    time_points,
)

PAPER = (  # time, c_x, c_e
    (901, 1.61541, -0.62250),
    (801, 1.49714, -0.51136),
    (701, 1.39677, -0.42172),
    (601, 1.31176, -0.35091),
    (501, 1.24006, -0.29619),
    (401, 1.18000, -0.25519),
    (301, 1.13021, -0.22688),
    (201, 1.08961, -0.21533),
    (101, 1.05733, -0.30461),
    (1, 1.00043, -0.01214),
)


def follow(planned: SamplingPlan, z: float, noise: float, prediction: str) -> float:
    """Sample one number with a network that knows the answer."""
    x = planned.signal * z + planned.noise * noise
    for step in planned.steps:
        x = step.keep * x + step.take * (z if prediction == "x0" else noise)
    return x


def test_alpha_bars_are_products_of_what_each_step_leaves() -> None:
    bars = alpha_bars()
    assert bars.dtype == torch.float64 and bars.shape == (1000,)
    expected, left = [], 1.0
    for step in range(1000):
        root = math.sqrt(0.00085) + step / 999 * (math.sqrt(0.012) - math.sqrt(0.00085))
        left *= 1 - root**2
        expected.append(left)
    np.testing.assert_allclose(bars.numpy(), expected, rtol=1e-12)
    assert bars[0].item() == pytest.approx(0.99915, abs=1e-9)
    assert bars[999].sqrt().item() == pytest.approx(0.0683, abs=5e-5)


def test_coefficients_of_the_ten_steps_are_those_of_the_paper() -> None:
    steps = plan(10, 901, "epsilon").steps
    assert [step.time for step in steps] == [time for time, _, _ in PAPER]
    np.testing.assert_allclose([step.keep for step in steps], [row[1] for row in PAPER], atol=1e-5)
    np.testing.assert_allclose([step.take for step in steps], [row[2] for row in PAPER], atol=1e-5)


def test_errors_of_epsilon_grow_eightfold_and_those_of_x0_shrink() -> None:
    bars = alpha_bars()
    growth = math.prod(step.keep for step in plan(10, 901, "epsilon").steps)
    assert growth == pytest.approx(8.44647, abs=1e-5)
    assert growth == pytest.approx((bars[0] / bars[901]).sqrt().item(), rel=1e-12)
    assert all(step.keep < 1 for step in plan(10, 901, "x0").steps)


@pytest.mark.parametrize(("time", "target"), [(901, 801), (501, 1), (101, 1), (1, 0)])
def test_both_forms_are_the_same_step(time: int, target: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, clean = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    bar = alpha_bars()[time]
    noise = (x - bar.sqrt() * clean) / (1 - bar).sqrt()
    by_noise, by_clean = (ddim_step(time, target, form) for form in ("epsilon", "x0"))
    torch.testing.assert_close(
        by_noise.keep * x + by_noise.take * noise,
        by_clean.keep * x + by_clean.take * clean,
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize("prediction", ["epsilon", "x0"])
@pytest.mark.parametrize(("steps", "first"), [(10, 901), (4, 501), (2, 501), (1, 201)])
def test_a_network_that_knows_the_answer_ends_at_time_zero(
    steps: int, first: int, prediction: str
) -> None:
    planned = plan(steps, first, prediction)
    # sqrt(.99915) .7 - sqrt(.00085) 1.3
    assert follow(planned, 0.7, -1.3, prediction) == pytest.approx(0.661801, abs=1e-6)
    assert follow(planned, 1, 0, prediction) == pytest.approx(0.99957, abs=1e-5)
    assert follow(planned, 0, 1, prediction) == pytest.approx(0.02915, abs=1e-5)


def test_the_start_of_the_paper_loses_amplitude() -> None:
    planned = plan(10, 901, "epsilon", "999")
    assert [step.time for step in planned.steps] == [row[0] for row in PAPER]
    assert planned.signal == pytest.approx(0.0683, abs=5e-5)
    assert planned.signal**2 + planned.noise**2 == pytest.approx(1, abs=1e-12)
    assert follow(planned, 1, 0, "epsilon") == pytest.approx(0.577, abs=5e-4)
    assert follow(planned, 1, 0, "epsilon") == pytest.approx(8.44647 * 0.0682649, abs=1e-5)
    # One that knows the clean latents is not misled by more than what is left of the noise.
    assert follow(plan(10, 901, "x0", "999"), 1, 0, "x0") == pytest.approx(0.99957, abs=0.01)


def test_noise_is_added_as_each_time_says() -> None:
    z, noise = torch.full((3, 2, 1, 1), 0.7), torch.full((3, 2, 1, 1), -1.3)
    found = noised(z, noise, torch.tensor([0, 999, 0]))
    assert found.dtype == torch.float32 and found.shape == z.shape
    # At time 999: .0682649 * .7 - .997667 * 1.3.
    expected = torch.tensor([0.661801, -1.249182, 0.661801]).reshape(3, 1, 1, 1).expand(3, 2, 1, 1)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_a_plan_begins_as_its_first_time_is_noised() -> None:
    planned = plan(2, 501)
    z, noise = torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = planned.signal * z + planned.noise * noise
    torch.testing.assert_close(found, noised(z, noise, torch.tensor([501])))


@pytest.mark.parametrize(
    ("steps", "first", "expected"),
    [
        (10, 901, tuple(range(901, 0, -100))),
        (4, 501, (501, 334, 168, 1)),
        (2, 501, (501, 1)),
        (1, 201, (201,)),
        (3, 3, (3, 2, 1)),
        (1, 1, (1,)),
    ],
)
def test_time_points(steps: int, first: int, expected: tuple[int, ...]) -> None:
    assert time_points(steps, first) == expected


@pytest.mark.parametrize("first", [2, 7, 100, 501, 998, 999])
def test_time_points_fall_from_the_first_to_one(first: int) -> None:
    for steps in range(2, first + 1):
        times = time_points(steps, first)
        assert len(times) == steps and (times[0], times[-1]) == (first, 1)
        assert all(a > b for a, b in pairwise(times))


@pytest.mark.parametrize(
    ("steps", "first", "said"),
    [
        (0, 501, "0 sampling steps: give a number from 1 to 1000"),
        (-1, 501, "-1 sampling steps"),
        (1001, 999, "1001 sampling steps: give a number from 1 to 1000"),
        (2, 0, "cannot begin at time 0: give one from 1 to 999"),
        (2, 1000, "cannot begin at time 1000"),
        (20, 10, "20 sampling steps do not fit into times 10 to 1: give at most 10"),
        (11, 10, "11 sampling steps do not fit"),
    ],
)
def test_steps_that_cannot_be_are_refused(steps: int, first: int, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        plan(steps, first)
