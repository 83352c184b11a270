"""Where a first step starts from: regressions, principal directions, and who decoders ask."""

import numpy as np
import pytest
import torch
from torch import nn

from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.network import Network
from cad_edge_training.methods.ib_iumad.reconstruction import ReconstructionNetwork, by_head
from cad_edge_training.methods.ib_iumad.starting_point import (
    RIDGE,
    fit_start,
    look_at_own_place,
    principal,
    regress,
)

CHANNELS, SIDE = 24, 4
CONFIG = Config(
    width=32, layers=2, heads=4, inner=32, states=2, dropout=0.0, start="fitted", compression=0.0
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def drawn_tokens(images: int) -> dict[str, torch.Tensor]:
    """Tokens that lie in five directions, as features have far fewer directions than channels."""
    basis = torch.randn(5, CHANNELS)
    return {name: torch.randn(images, SIDE * SIDE, 5) @ basis for name in CONFIG.modalities}


def test_principal_directions_by_hand():
    # Along (3, 4) / 5 with a variance of 25, across it 1; around (1, 1).
    along, across = torch.tensor([3.0, 4.0]) / 5, torch.tensor([4.0, -3.0]) / 5
    rows = torch.stack([5 * along, -5 * along, across, -across]) * 2**0.5 + 1
    mean, directions, variances = principal(rows, 2)
    torch.testing.assert_close(mean, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(variances, torch.tensor([25.0, 1.0], dtype=torch.float64))
    expected = torch.stack([along, across], dim=1).double().abs()
    torch.testing.assert_close(directions.abs(), expected, rtol=0, atol=1e-6)


def test_regression_is_least_squares_with_a_ridge():
    given, target = torch.randn(50, 6), torch.randn(50, 3)
    linear = nn.Linear(6, 3)
    regress(linear, given, target)
    x, y = given.double().numpy(), target.double().numpy()
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    # A ridge is least squares with further rows that ask for small weights.
    ridge = RIDGE * len(x) * np.mean(np.var(x, axis=0))
    rows = np.concatenate([x - x_mean, np.sqrt(ridge) * np.eye(6)])
    weight = np.linalg.lstsq(rows, np.concatenate([y - y_mean, np.zeros((6, 3))]), rcond=None)[0]
    np.testing.assert_allclose(linear.weight.detach().numpy(), weight.T, atol=1e-6)
    np.testing.assert_allclose(linear.bias.detach().numpy(), y_mean - x_mean @ weight, atol=1e-6)


def test_decoders_look_at_their_own_place():
    part = ReconstructionNetwork(CHANNELS, 196, 128, 2, 4, 64, 0.0).eval()
    look_at_own_place(part)
    memory = torch.randn(1, 196, 128)
    part.requires_grad_(False)
    for layer in part.layers()[1]:
        attention = layer.of_memory
        query = attention.query((layer.query + part.position)[None])
        q, k = (by_head(one, 4) for one in (query, attention.key(memory + part.position)))
        shares = torch.softmax(q @ k.transpose(-2, -1) / (128 / 4) ** 0.5, dim=-1)
        own = shares.diagonal(dim1=-2, dim2=-1)
        assert float(own.mean()) > 0.8  # of 196 places


def test_a_fitted_network_restores_more_than_half_before_any_update():
    tokens = drawn_tokens(32)
    seen = {name: one[:24] for name, one in tokens.items()}
    other = {name: one[24:] for name, one in tokens.items()}
    drawn = Network(CONFIG, CHANNELS, SIDE * SIDE, 2).eval()
    fitted = Network(CONFIG, CHANNELS, SIDE * SIDE, 2)
    fit_start(fitted, seen)
    target = torch.cat([other[name] for name in CONFIG.targets], dim=-1)
    with torch.inference_mode():
        errors = [
            float(((network(other, other).features - target) ** 2).mean() / target.var())
            for network in (drawn, fitted)
        ]
    assert errors[0] > 0.9
    assert errors[1] < 0.5


@pytest.mark.parametrize("changes", [{"bottleneck": False}, {"modality": "rgb"}, {"mamba": False}])
def test_every_ablation_can_be_fitted(changes):
    config = CONFIG.model_copy(update=changes)
    network = Network(config, CHANNELS, SIDE * SIDE, 2)
    tokens = {name: one for name, one in drawn_tokens(8).items() if name in config.modalities}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit_start(network, tokens)
    after = network.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed >= {"reconstructions", "restore"}
    assert "branches" not in changed
