"""Losses, balance and independence of drawn experts, by hand."""

import math

import pytest
import torch

from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn import losses as losses_module
from cad_edge_training.methods.anomaly_moe.drawn.balance import (
    balance_loss,
    importance,
    load,
    z_loss,
)
from cad_edge_training.methods.anomaly_moe.drawn.component_expert import draw_component
from cad_edge_training.methods.anomaly_moe.drawn.global_expert import draw_global
from cad_edge_training.methods.anomaly_moe.drawn.independence import (
    Independence,
    club,
    draw_estimator,
    log_likelihood,
    predicted,
    shared_pairs,
)
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.losses import (
    LevelScales,
    component_loss,
    constant_losses,
    gate_spread,
    global_loss,
    hard_count,
    mined,
    patch_loss,
)
from cad_edge_training.methods.anomaly_moe.drawn.patch_expert import draw_patch, patch_error
from cad_edge_training.methods.anomaly_moe.gates import gates


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _config(**values: object) -> Config:
    return Config.model_validate({"groups": ("2",), **values})


def test_at_least_one_point_is_hard() -> None:
    assert int(10 * (1 - 0.9)) == 0  # what a plain cast makes of it
    assert [hard_count(points, 0.9) for points in (1, 10, 6272)] == [1, 1, 627]
    assert hard_count(10, 0.0) == 10


def test_easy_points_teach_a_tenth() -> None:
    distances = torch.arange(10.0, requires_grad=True)
    found = mined(distances, 0.8)
    torch.testing.assert_close(found, distances)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert distances.grad is not None
    assert distances.grad.tolist() == pytest.approx([0.1] * 8 + [1.0] * 2)


def test_losses_are_the_means_of_what_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        losses_module, "COMPONENT_NOISE", 0.0
    )  # dropout, which no mean would survive
    layout = Layout((6, 4), (4, 4), (32, 32), 5)
    config = _config(groups=("2", "3"), width=8, heads=2, depth=1, noise=0.0)
    features = torch.randn(3, 10, 4, 4, generator=_generator())
    weights = draw_patch(config, layout, _generator())
    loss, pooled = patch_loss(weights, features, config, layout)
    torch.testing.assert_close(loss, patch_error(weights, features, config, layout).mean(dim=1))
    assert pooled.shape == (3, 8)
    vectors = torch.randn(2, 3, 10, generator=_generator())
    present = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    component = draw_component(layout, _generator())
    loss, pooled = component_loss(component, vectors, present, layout)
    alone, _ = component_loss(component, vectors[:1, :1], torch.ones(1, 1), layout)
    assert loss[1] == 0
    assert pooled[1].tolist() == [0.0] * 10
    assert loss[0].item() == pytest.approx(alone.item(), rel=1e-5)
    whole = draw_global(config, layout, _generator())
    loss, pooled = global_loss(whole, torch.zeros(3, 3, 32, 32), features)
    assert loss.shape == (3,)
    assert pooled.shape == (3, 10)


def test_a_constant_predictor_explains_nothing() -> None:
    # Two unit vectors at a right angle: the mean has length 1/sqrt 2, so 1 - cosine is 1 - that.
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[:, :, None, None].repeat(1, 2, 1, 1)
    features[:, 2:] *= 3
    layout = Layout(channels=(2, 2), grid=(1, 1), pixels=(8, 8), descriptor=1, geometry=2)
    pooled = torch.zeros(2, 2, 6)
    pooled[0, 0, :4] = torch.tensor([5.0, 0, 0, 0])
    pooled[1, 0, :4] = torch.tensor([0.0, 2, 0, 0])
    pooled[:, 0, 4:] = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    pooled[:, 1] = torch.nan  # not present, so never looked at
    present = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    found = constant_losses(features, pooled, present, layout)
    direction = 1 - math.sqrt(0.5)
    # Variances 1/4, 1/4, 9/4, 9/4 of features; 1 and 4 of geometry.
    assert found.tolist() == pytest.approx([direction, direction + 2.5, 1.25])


def test_scales_make_losses_1_minus_r2_unless_raw() -> None:
    constants = torch.tensor([0.5, 1.0, 20.0])
    scales, raw = LevelScales(constants, False), LevelScales(constants, True)
    losses = (torch.tensor([0.1, 0.2]), torch.tensor([0.9]), torch.tensor([7.0, 9.0]))
    for level, loss in enumerate(losses):
        scales.observe(level, loss)
    assert scales.unexplained == pytest.approx({"patch": 0.3, "component": 0.9, "global": 0.4})
    assert [scales.of(level) for level in range(3)] == pytest.approx([2.0, 1.0, 0.05])
    assert [raw.of(level) for level in range(3)] == [1.0, 0.1, 0.1]
    scales.observe(0, torch.tensor([0.05]))
    assert scales.unexplained["patch"] == pytest.approx(0.9 * 0.3 + 0.1 * 0.1)


def test_with_the_spread_gates_are_a_softmin_of_the_losses() -> None:
    losses = torch.tensor([[0.0, 0.0, 1.0, 0.3], [0.5, 0.2, 0.9, 0.1]])
    config = _config(experts=4, top_k=4)
    logits = torch.cat([-losses, torch.full((2, 8), -99.0)], dim=1).requires_grad_()
    weights = gates(logits, config)
    objective = (weights[:, :4] * losses).sum() / 2 + gate_spread(weights)
    gradient = torch.autograd.grad(objective, logits)[0]
    torch.testing.assert_close(gradient, torch.zeros(2, 12), atol=1e-6, rtol=0)
    assert gate_spread(torch.tensor([[0.5, 0.5, 0.0]])).item() == pytest.approx(-math.log(2))
    # Of three levels, the worst that can be.
    weights = gates(torch.tensor([[0.0, 0.0, -1.0]]), _config(experts=1))
    assert weights[0, 2].item() == pytest.approx(0.155, abs=1e-3)


def test_the_router_follows_what_is_small() -> None:
    """d/d logit = G (L - Σ G L), the trap of losses in unlike units."""
    logits = torch.zeros(1, 3, requires_grad=True)
    weights = gates(logits, _config(experts=1, top_k=2))
    (weights * torch.tensor([1.0, 3.0, 0.0])).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([-0.5, 0.5, 0.0])


def test_importance_by_hand() -> None:
    assert importance(torch.full((4, 18), 1 / 18)).item() == pytest.approx(1.0)
    three = torch.zeros(8, 18)
    three[:, [2, 5, 7]] = 1 / 3
    assert importance(three).item() == pytest.approx(6.0)
    assert importance(torch.eye(18)[:1].repeat(8, 1)).item() == pytest.approx(18.0)
    # Images that differ from one another balance each other.
    assert importance(torch.eye(18)).item() == pytest.approx(1.0)


def test_load_by_hand_and_without_gradient() -> None:
    logits = torch.zeros(8, 18)
    logits[:, [2, 5, 7]] = 1
    logits.requires_grad_()
    weights = gates(logits, _config())
    assert load(weights) == pytest.approx(3 * (8 - 4 * 8 / 18) ** 2)
    assert load(weights) == pytest.approx(116.148, abs=1e-3)
    assert load(torch.eye(18)) == 0
    # A count has no gradient: what ESB teaches is importance and z alone.
    first = torch.autograd.grad(balance_loss(logits), logits)[0]
    parts = importance(logits.softmax(dim=-1)) + z_loss(logits)
    torch.testing.assert_close(first, torch.autograd.grad(parts, logits)[0])


def test_z_loss_is_a_mean() -> None:
    assert z_loss(torch.ones(5, 18)).item() == 1
    assert z_loss(torch.tensor([[1.0, 3.0]])).item() == 5


def test_club_by_hand() -> None:
    given = asked = torch.tensor([[0.0], [1.0]])
    zero = torch.zeros_like(given)
    assert club(given, zero, asked, 1).item() == pytest.approx(0.5)
    same = torch.ones(2, 1)
    assert club(same, zero, same, 1).item() == 0


def test_log_likelihood_is_best_at_log_variance_0() -> None:
    mean, asked = torch.zeros(1, 1), torch.ones(1, 1)
    steps = torch.linspace(-1, 1, 201)
    found = torch.stack([log_likelihood(mean, one.reshape(1, 1), asked) for one in steps])
    assert steps[found.argmax()].item() == pytest.approx(0.0, abs=1e-6)
    # Without the last term it is best at the upper end.
    assert steps[(-(1 / steps.exp()) / 2).argmax()].item() == 1


def test_the_estimator_knows_the_pair() -> None:
    q = draw_estimator(4, 3, _generator())
    x = torch.randn(5, 4, generator=_generator())
    one, other = predicted(q, x, (0, 1))[0], predicted(q, x, (1, 0))[0]
    assert not torch.allclose(one, other)


def _bound(mix: float, updates: int) -> tuple[float, float]:
    """Bound between x and noise + mix · x and its gradient by mix, of new images each time.

    The means over the last 20 updates of the estimator.
    """
    torch.manual_seed(0)
    independence = Independence((16,), 2, _generator(), torch.device("cpu"))
    mixed = torch.tensor(mix, requires_grad=True)
    found = []
    for _ in range(updates):
        given, noise = torch.randn(2, 64, 16)
        images = torch.arange(64)
        bound = independence.loss([{0: (images, given), 1: (images, noise + mixed * given)}])
        assert bound is not None
        found.append(torch.stack([bound.detach(), *torch.autograd.grad(bound, mixed)]))
    value, gradient = torch.stack(found[-20:]).mean(dim=0).tolist()
    return value, gradient


def test_independent_gaussians_share_nothing() -> None:
    independent, mixed = _bound(0.0, 300)[0], _bound(3.0, 300)[0]
    assert mixed > 5
    assert abs(independent) < 0.05 * mixed


def test_the_gradient_lowers_what_is_shared() -> None:
    assert _bound(-1.0, 100)[1] < 0 < _bound(1.0, 100)[1]


def test_pairs_are_images_that_both_experts_saw() -> None:
    features = torch.arange(12.0).reshape(4, 3).square()
    seen = {
        0: (torch.tensor([0, 1, 3]), features[[0, 1, 3]]),
        2: (torch.tensor([1, 2, 3]), features[[1, 2, 3]]),
        4: (torch.tensor([0, 2]), features[[0, 2]]),
    }
    pairs = shared_pairs(seen)
    assert [pair for pair, _, _ in pairs] == [(0, 2), (2, 0)]
    for _, given, asked in pairs:
        torch.testing.assert_close(given, asked)
        torch.testing.assert_close(given, torch.nn.functional.layer_norm(features[[1, 3]], (3,)))
    independence = Independence((3,), 5, _generator(), torch.device("cpu"))
    assert independence.loss([{4: seen[4]}]) is None
