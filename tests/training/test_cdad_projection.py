"""Projected updates: the oracles of METHODS 8 and 9 (003), and a network that learns on."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cad_edge.errors import ArtifactError, CadEdgeError
from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.inputs import projected_layers, recorded_inputs
from cad_edge_training.methods.cdad.projection import ProjectedUpdates, take_off
from cad_edge_training.methods.cdad.second_moments import SecondMoments

RATE = 0.01
ALONG = torch.full((3, 1), 1 / math.sqrt(3))
GRADIENT = torch.tensor([[2.0, -1.0, -1.0]])


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def one_layer(weight: list[float]) -> nn.Linear:
    layer = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weight]))
    return layer


def updated(project, optimiser_of, weight, gradient) -> torch.Tensor:
    """What one step adds to a weight (1, 3), of which (1, 1, 1) / sqrt 3 is protected."""
    layer = one_layer(weight)
    updates = ProjectedUpdates(nn.Sequential(layer), LayerBases({"0": ALONG}), {}, project)
    layer.weight.grad = gradient.clone()
    updates.step(optimiser_of([layer.weight]))
    return layer.weight.detach() - torch.tensor([weight])


def adam(weights):
    return torch.optim.Adam(weights, lr=RATE)


def test_the_gradient_at_hand_is_orthogonal_and_adams_step_is_not():
    assert float((GRADIENT @ ALONG).abs()) < 1e-6
    for project, expected, along in (
        ("gradient", (-1.0, 1.0, 1.0), 0.57735),
        ("update", (-4 / 3, 2 / 3, 2 / 3), 0.0),
    ):
        found = updated(project, adam, [0.5, 0.2, 0.1], GRADIENT) / RATE
        assert found[0].tolist() == pytest.approx(expected, abs=1e-5)
        assert float(found @ ALONG) == pytest.approx(along, abs=1e-5)


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_of_plain_descent_both_forms_are_one(project):
    # (3, 1, -1) has a mean of 1: (2, 0, -2) is left.
    found = updated(
        project,
        lambda weights: torch.optim.SGD(weights, lr=RATE),
        [0.5, 0.2, 0.1],
        torch.tensor([[3.0, 1.0, -1.0]]),
    )
    assert (found / RATE)[0].tolist() == pytest.approx([-2, 0, 2], abs=1e-5)


def test_decay_moves_what_is_protected_where_the_gradient_is_projected():
    def decaying(weights):
        return torch.optim.AdamW(weights, lr=RATE, weight_decay=0.5)

    within, nothing = [1.0, 1.0, 1.0], torch.zeros(1, 3)
    found = updated("gradient", decaying, within, nothing)
    assert found[0].tolist() == pytest.approx([-RATE * 0.5] * 3, rel=1e-4)
    found = updated("update", decaying, within, nothing)
    assert found[0].tolist() == pytest.approx([0] * 3, abs=1e-7)
    # Of (2, 1, 0) the part (1, 1, 1) stays, but what lies outside of it shrinks all the same.
    found = updated("update", decaying, [2.0, 1.0, 0.0], nothing)
    assert found[0].tolist() == pytest.approx([-RATE * 0.5, 0, RATE * 0.5], abs=1e-6)


@pytest.mark.parametrize(
    "rule", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Rprop]
)
def test_answers_to_old_inputs_stay_under_any_rule(rule):
    old = torch.randn(12, 3) @ torch.randn(3, 20)
    moments = SecondMoments()
    moments.add("0", old)
    bases = LayerBases({}).grown(moments.by_basis, {"0": 1.0})
    moved = {}
    for project in ("update", "gradient"):
        layer = nn.Linear(12, 5, bias=False)
        before = layer.weight.detach().clone()
        updates = ProjectedUpdates(nn.Sequential(layer), bases, {}, project)
        optimiser = rule([layer.weight], lr=RATE)
        for _ in range(30):
            layer.weight.grad = torch.randn(5, 12)
            updates.step(optimiser)
        change = layer.weight.detach() - before
        assert change.norm() > RATE
        moved[project] = float((change @ old).norm() / (change.norm() * old.norm()))
    assert moved["update"] < 1e-6
    assert moved["gradient"] > 0.01


class Small(nn.Module):
    """A convolution, a norm, a bias without a layer, and a linear; one layer is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, stride=3), nn.GroupNorm(2, 4)
        self.shift, self.head = nn.Parameter(torch.zeros(4, 1, 1)), nn.Linear(16, 6)
        self.unused = nn.Linear(5, 5)

    def forward(self, images):
        hidden = torch.relu(self.norm(self.conv(images)) + self.shift)
        return self.head(hidden.flatten(1))


def learn_on(project, network, old, images, decay=0.0) -> None:
    """Learn random answers for other images."""
    moments = SecondMoments()
    with recorded_inputs(projected_layers(network), moments, {}), torch.no_grad():
        network(old)
    assert set(moments.by_basis) == {"conv", "head"}
    bases = LayerBases({}).grown(moments.by_basis, dict.fromkeys(moments.by_basis, 1.0))
    assert {name: basis.shape for name, basis in bases.by_name.items()} == {
        "conv": (27, 8),  # two images of four places each
        "head": (16, 2),
    }
    updates = ProjectedUpdates(network, bases, {}, project)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=decay)
    goal = torch.randn(len(images), 6)
    for _ in range(30):
        optimiser.zero_grad()
        loss = (network(images) - goal).square().mean() + network.unused.weight.square().sum()
        loss.backward()
        updates.step(optimiser)


@pytest.mark.parametrize(("project", "forgets"), [("update", False), ("gradient", True)])
def test_a_network_that_learns_on_answers_old_images_as_before(project, forgets):
    network, old, images = Small(), torch.randn(2, 3, 6, 6), torch.randn(8, 3, 6, 6)
    with torch.no_grad():
        before, other = network(old), network(images)
    learn_on(project, network, old, images)
    with torch.no_grad():
        forgotten = float((network(old) - before).abs().max())
        assert float((network(images) - other).abs().max()) > 0.3
    if forgets:
        assert forgotten > 0.1
    else:
        assert forgotten < 2e-6


def test_what_has_no_basis_does_not_move():
    network = Small()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    learn_on("update", network, torch.randn(2, 3, 6, 6), torch.randn(8, 3, 6, 6), decay=0.1)
    moved = {
        name for name, value in network.named_parameters() if not torch.equal(value, before[name])
    }
    assert moved == {"conv.weight", "head.weight"}


def test_layers_that_share_a_basis_are_projected_by_it():
    network = nn.ModuleDict({"q": one_layer([0, 0, 0]), "k": one_layer([0, 0, 0])})
    updates = ProjectedUpdates(network, LayerBases({"qk": ALONG}), {"q": "qk", "k": "qk"}, "update")
    for value in network.parameters():
        value.grad = GRADIENT.clone()
    updates.step(adam(network.parameters()))
    for value in network.parameters():
        assert (value / RATE)[0].tolist() == pytest.approx([-4 / 3, 2 / 3, 2 / 3], abs=1e-5)


def test_a_kernel_is_projected_as_the_columns_are_ordered():
    change = torch.arange(16.0).reshape(2, 2, 2, 2)
    take_off(change, torch.eye(8)[:, [1, 6]])
    expected = torch.arange(16.0).reshape(2, 8)
    expected[:, [1, 6]] = 0
    assert torch.equal(change, expected.reshape(2, 2, 2, 2))


class Largest(TorchDispatchMode):
    """The largest number of elements that any operation answers with."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            self.numbers = max(self.numbers, found.numel())
        return found


def test_nothing_as_large_as_a_projector_is_formed():
    layer = nn.Linear(500, 3, bias=False)
    bases = LayerBases({"0": torch.eye(500)[:, :2]})
    with Largest() as largest:
        for project in ("update", "gradient"):
            updates = ProjectedUpdates(nn.Sequential(layer), bases, {}, project)
            layer.weight.grad = torch.ones(3, 500)
            updates.step(adam([layer.weight]))
    assert largest.numbers == 3 * 500


def test_bases_that_do_not_fit_are_refused_before_anything_moves():
    network = nn.Sequential(one_layer([0, 0, 0]))
    with pytest.raises(ArtifactError, match="another model version or width"):
        ProjectedUpdates(network, LayerBases({"0": torch.eye(4)[:, :1]}), {}, "update")
    with pytest.raises(CadEdgeError, match="the network is full"):
        ProjectedUpdates(network, LayerBases({"0": torch.eye(3)}), {}, "update")
