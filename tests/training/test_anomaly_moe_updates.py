"""Gradient updates on top of fitted experts: what they move, and what they cannot improve."""

import pytest
import torch

from cad_edge.errors import CadEdgeError
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.fitted_updates import unexplained, updated
from cad_edge_training.methods.anomaly_moe.fitting import fit_components, fit_global, fit_patch

GRID = (3, 3)


def config(**values: object) -> Config:
    given = {
        **{"groups": ("2",), "start": "fitted", "form": "gaussian", "rank": 2, "components": 2},
        **{"component_rank": 1, "steps": 40, "warm_up": 0, "batch": 40, "weight_decay": 0.0},
        **{"learning_rate": 1e-3, "clip": 10.0},
    }
    return Config.model_validate(given | values)


@pytest.fixture
def parts() -> torch.Tensor:
    """(40, 9, 4) of two directions, and noise that is strong in the last cell."""
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(40, 2, generator=generator) @ torch.randn(2, 36, generator=generator)
    noise = 0.2 * torch.randn(40, 9, 4, generator=generator)
    noise[:, -1] *= 4
    return both.reshape(40, 9, 4) + noise


def test_what_is_unexplained_is_one_less_the_share_that_is(parts):
    weights = fit_global(parts, config())
    flat = parts.flatten(1) - parts.flatten(1).mean(0)
    singular = torch.linalg.svdvals(flat.double())
    by_hand = 1 - singular[:2].square().sum() / singular.square().sum()
    found = unexplained("global", weights, parts, GRID, config())
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-4)


@pytest.mark.parametrize("level", ["component", "global"])
def test_the_closed_form_cannot_be_improved_without_hard_mining(parts, level):
    """Its gradient is zero, so that updates have nothing but rounding to follow."""
    even = config(hard_mining=0.0)
    fit = {"global": lambda: fit_global(parts, even)}
    fit["component"] = lambda: fit_components(parts, GRID, even, 0)
    weights = fit[level]()
    basis = weights["basis"].clone().requires_grad_()
    unexplained(level, {**weights, "basis": basis}, parts, GRID, even).backward()
    assert basis.grad.abs().max() < 1e-5
    moved = updated(level, weights, parts, GRID, even, 0)
    before, after = (unexplained(level, one, parts, GRID, even) for one in (weights, moved))
    assert after >= before - 1e-6


def test_hard_mining_moves_towards_the_cells_that_are_worst(parts):
    mining = config()
    weights = fit_global(parts, mining)
    moved = updated("global", weights, parts, GRID, mining, 0)
    assert not torch.equal(moved["basis"], weights["basis"])
    assert torch.equal(moved["mean"], weights["mean"])

    def worst(one):
        residual = (parts.flatten(1) - one["mean"]) @ (
            torch.eye(36) - one["basis"] @ one["basis"].T
        )
        return residual.reshape(40, 9, 4).square().mean(-1).flatten().topk(36).values.mean()

    assert worst(moved) < worst(weights)
    again = updated("global", weights, parts, GRID, mining, 0)
    assert torch.equal(again["basis"], moved["basis"]), "equal seeds, equal experts"


def test_patches_stay_and_so_does_everything_without_updates(parts):
    gaussian = fit_patch(parts, config())
    assert updated("patch", gaussian, parts, GRID, config(), 0) == gaussian
    weights = fit_global(parts, config())
    assert updated("global", weights, parts, GRID, config(steps=0), 0) == weights


def test_a_loss_that_is_no_number_is_refused(parts):
    weights = fit_global(parts, config())
    parts[0, 0, 0] = torch.nan
    with pytest.raises(CadEdgeError, match="at update 1 of 40 the loss is not a number"):
        updated("global", weights, parts, GRID, config(), 0)
