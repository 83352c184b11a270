"""StableAdamW: hand-worked updates, and AdamW of torch where nothing is clipped."""

import pytest
import torch

from cad_edge_training.methods.anomaly_moe.drawn.optimiser import BETAS, EPS, StableAdamW


def _learn(start: list[float], gradients: list[list[float]], decay: float) -> torch.Tensor:
    value = torch.tensor(start)
    optimiser = StableAdamW([value], rate=0.1, decay=decay)
    for gradient in gradients:
        value.grad = torch.tensor(gradient)
        optimiser.step()
    return value


def test_the_first_update_is_the_rate() -> None:
    assert _learn([0.0, 0.0], [[3.0, -40.0]], 0).tolist() == pytest.approx([-0.1, 0.1])


def test_a_sudden_gradient_is_clipped() -> None:
    # Moments after 1 and 10: (.09 + 1)/.19 = 5.7368, (.000999 + .1)/.001999 = 50.525;
    # RMS = sqrt(100/50.525) = 1.40684, so .1/1.40684 * 5.7368/7.10808 = .057369.
    assert _learn([0.0], [[1.0], [10.0]], 0).item() == pytest.approx(-0.1 - 0.057369, abs=1e-6)
    # Decay is by the lowered rate: (2 (1 - .05) - .1)(1 - .5 * .1/1.40684) - .057369.
    expected = (2 * 0.95 - 0.1) * (1 - 0.05 / 1.40684) - 0.057369
    assert _learn([2.0], [[1.0], [10.0]], 0.5).item() == pytest.approx(expected, abs=1e-5)


def test_where_nothing_is_clipped_it_is_adamw() -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradient = torch.randn(2, 4, 3, generator=generator)
    ours, theirs = start.clone(), start.clone().requires_grad_()
    mine = StableAdamW([ours], rate=0.05, decay=0.1)
    yours = torch.optim.AdamW(
        [theirs], lr=0.05, betas=BETAS, eps=EPS, weight_decay=0.1, amsgrad=True
    )
    for update in range(20):
        ours.grad = theirs.grad = gradient * 0.8**update
        mine.step()
        yours.step()
    torch.testing.assert_close(ours, theirs.detach())
    # The other order of gradients is clipped, so the two must part.
    for update in range(20):
        ours.grad = theirs.grad = gradient * 2.0**update
        mine.step()
        yours.step()
    assert not torch.allclose(ours, theirs.detach(), atol=1e-2)


def test_what_has_no_gradient_stays_and_begins_late_like_the_others() -> None:
    early, late = torch.ones(1), torch.ones(1)
    optimiser = StableAdamW([early, late], rate=0.1, decay=0.5)
    for _ in range(50):
        early.grad = torch.ones(1)
        optimiser.step()
        optimiser.zero_grad()
    assert late.item() == 1
    late.grad = torch.tensor([7.0])
    optimiser.step()
    assert late.item() == pytest.approx(0.95 - 0.1)
