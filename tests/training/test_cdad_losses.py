"""The losses of CDAD: what each is of, and where its gradient goes."""

import pytest
import torch
from torch import Tensor

from cad_edge_training.methods.cdad.condition import AMN
from cad_edge_training.methods.cdad.losses import (
    condition_loss,
    diffusion_loss,
    local_variation,
)


@pytest.mark.parametrize(
    ("prediction", "expected"), [("x0", (1 + 9) / 2), ("epsilon", (4 + 0) / 2)]
)
def test_diffusion_loss_is_the_mean_square_from_its_target(
    prediction: str, expected: float
) -> None:
    predicted, clean, noise = (
        torch.tensor(values).reshape(1, 2, 1, 1) for values in ([1.0, 2.0], [0.0, 5.0], [3.0, 2.0])
    )
    assert diffusion_loss(predicted, clean, noise, prediction).item() == expected


def test_condition_loss_is_a_mean_square() -> None:
    added, local = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 2.0])
    assert condition_loss(added, local).item() == pytest.approx(4.5)
    assert condition_loss(added, local, stop_grad_target=False).item() == pytest.approx(4.5)


def _gradients(amn: AMN, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(amn.parameters())))


def test_the_target_teaches_the_local_encoder_only_where_asked() -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        amn = AMN(4, 8, (5, 5), heads=2, inner=16, window=3)
        perturbed, clean = torch.randn(2, 3, 4, 5, 5)

    def loss(stop_grad_target: bool) -> Tensor:
        return condition_loss(amn(perturbed)[0], amn.local(clean), stop_grad_target)

    constant = amn.local(clean).detach().clone()
    alone = _gradients(amn, (amn(perturbed)[0] - constant).square().mean())
    stopped, flowing = (_gradients(amn, loss(stop)) for stop in (True, False))
    for one, other in zip(stopped, alone, strict=True):
        torch.testing.assert_close(one, other)
    # What is left for the local encoder comes through AMN, and is not nothing.
    assert all(one.abs().max() > 0 for one in stopped[: len(amn.local.convs)])
    moved = [not torch.allclose(a, b) for a, b in zip(stopped, flowing, strict=True)]
    convolutions = len(list(amn.local.parameters()))
    assert all(moved[:convolutions]) and not any(moved[convolutions:])


def test_target_by_itself_gets_no_gradient() -> None:
    added, local = (torch.ones(2, 3, requires_grad=True) for _ in range(2))
    condition_loss(added * 2, local).backward()
    assert local.grad is None and added.grad is not None


def test_variation_between_images_is_not_that_within_them() -> None:
    # Two images of the same checks: all deviation is within.
    checks = torch.tensor([3.0, -3.0]).repeat(2, 4, 5, 2)
    assert local_variation(checks) == (0, pytest.approx(3))
    # Two plain ones of -1 and 5: all deviation is between.
    plain = torch.tensor([-1.0, 5.0]).reshape(2, 1, 1, 1).expand(2, 4, 5, 4)
    assert local_variation(plain) == (pytest.approx(3), pytest.approx(3))
    # Both, where variances add up: sqrt(9 + 9).
    assert local_variation(checks + plain) == (pytest.approx(3), pytest.approx(18**0.5))


def test_variation_carries_no_gradient_and_is_zero_of_one_image() -> None:
    one = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = local_variation(one)
    assert found.between_images == 0 and found.overall > 0.5
