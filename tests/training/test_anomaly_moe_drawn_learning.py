"""Learning drawn experts together: what it finds, what it repeats, and when gates collapse."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cad_edge.errors import CadEdgeError
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import (
    Layout,
    channel_statistics,
    standardised,
)
from cad_edge_training.methods.anomaly_moe.drawn.router import route
from cad_edge_training.methods.anomaly_moe.drawn.training_data import DrawnExperts, TrainingData
from cad_edge_training.methods.anomaly_moe.drawn.training_loop import (
    Training,
    rate_at,
    train_experts,
)
from cad_edge_training.methods.anomaly_moe.gates import gates, level_gates

PRODUCTS = 3
EACH = 12
LAYOUT = Layout(channels=(4, 4), grid=(4, 4), pixels=(16, 16), descriptor=6, geometry=3)


def _config(**values: object) -> Config:
    small: dict[str, object] = {
        "groups": ("2", "3"),
        "experts": 2,
        "width": 16,
        "depth": 1,
        "heads": 2,
        "steps": 8,
        "warm_up": 5,
        "batch": 12,
        "learning_rate": 2e-2,
        "components": 2,
    }
    return Config.model_validate({**small, **values})


def _data() -> TrainingData:
    """Products with a picture of their own, two directions it varies in, and more or less noise."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    features, pixels, descriptors = [], [], []
    for product in range(PRODUCTS):
        varied = torch.einsum("nk,kchw->nchw", draw(EACH, 2), draw(2, 3, 4, 4))
        whole = draw(1, 3, 4, 4) + 0.5 * varied
        noise = 0.3 * product * draw(EACH, 8, 4, 4)
        features.append(torch.einsum("dc,nchw->ndhw", draw(8, 3), whole) + noise)
        pixels.append(functional.interpolate(whole, size=LAYOUT.pixels))
        descriptors.append(draw(1, 6) + 0.1 * draw(EACH, 6))
    seen = torch.cat(features)
    halves = functional.one_hot(torch.arange(16) // 8, 2).T.expand(len(seen), 2, 16)
    return TrainingData(
        layout=LAYOUT,
        features=standardised(seen, *channel_statistics(seen)),
        pixels=torch.cat(pixels),
        descriptors=torch.cat(descriptors),
        assignment=halves.contiguous(),
        geometry=draw(len(seen), 2, 3),
    )


def _quiet(task: str, done: int, all_of_it: int) -> None:
    """Show no progress."""


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def _least(found: DrawnExperts, config: Config) -> float:
    """The smallest of the levels' gates, the mean over products."""
    weights = gates(route(found.router, _data().descriptors), config)
    return level_gates(weights).reshape(PRODUCTS, EACH, 3).mean(dim=(0, 1)).min().item()


def test_comparable_losses_keep_every_level_and_raw_ones_do_not() -> None:
    comparable = _config(routing="per_level", steps=100)
    raw = _config(routing="per_level", steps=100, raw_losses=True)
    kept = train_experts(_data(), comparable, 0, _quiet)
    collapsed = train_experts(_data(), raw, 0, _quiet)
    assert _least(kept, comparable) >= 0.15
    assert _least(collapsed, raw) < 0.1
    assert min(kept.record.mean_gates.values()) == pytest.approx(_least(kept, comparable))
    # As released a patch's loss counts ten times as much as others, so the router avoids it.
    assert collapsed.record.mean_gates["patch"] == min(collapsed.record.mean_gates.values())
    assert kept.record.unexplained["patch"] < 0.5
    assert max(kept.record.unexplained.values()) < 0.95


def test_equal_seeds_give_equal_experts_and_torch_draws_on_as_before() -> None:
    config = _config(steps=4)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (train_experts(_data(), config, 3, _quiet) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert _equal(first.weights, second.weights)
    assert _equal(first.router, second.router)
    assert first.record == second.record
    other = train_experts(_data(), config, 4, _quiet)
    assert not _equal(first.weights, other.weights)


def test_pixels_can_come_batch_by_batch() -> None:
    data = _data()
    asked: list[int] = []

    def pixels(index: Tensor) -> Tensor:
        asked.append(len(index))
        assert isinstance(data.pixels, Tensor)
        return data.pixels[index]

    config = _config(steps=4)
    whole = train_experts(data, config, 0, _quiet)
    batches = train_experts(replace(data, pixels=pixels), config, 0, _quiet)
    assert _equal(whole.weights, batches.weights)
    assert max(asked) <= config.batch


def test_only_chosen_experts_compute() -> None:
    """Weights that are not numbers, of experts that no image chooses, reach no loss or gradient."""
    config = _config(steps=1, routing="per_level")
    training = Training(_data(), config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        training.router["layer.1.bias"].copy_(torch.tensor([9.0, 0, 9, 0, 9, 0]))
        for level in LEVELS:
            for name, one in training.weights.items():
                if name.startswith(f"{level}.1."):
                    one.fill_(torch.nan)
    training.update(0, torch.arange(12))
    found = training.result()
    assert found.record.unused == ("patch.1", "component.1", "global.1")
    assert found.record.images["patch.0"] == PRODUCTS * EACH
    assert all(one.isfinite().all() for name, one in found.weights.items() if ".0." in name[:12])
    # Nor do the others learn or decay.
    assert all(one.isnan().all() for name, one in found.weights.items() if ".1." in name[:12])


@pytest.mark.parametrize("routing", ["per_level", "top_k"])
def test_experts_of_levels_that_are_left_out_learn_nothing_and_are_never_chosen(routing) -> None:
    config = _config(steps=3, levels=("patch", "global"), routing=routing)
    start = Training(_data(), config, torch.Generator().manual_seed(0)).weights
    found = train_experts(_data(), config, 0, _quiet)
    assert found.record.mean_gates["component"] == 0
    assert {"component.0", "component.1"} <= set(found.record.unused)
    component = [name for name in start if name.startswith("component.")]
    assert all(torch.equal(start[name], found.weights[name]) for name in component)
    first = "global.0.encoder.0.weight"
    assert not torch.equal(start[first], found.weights[first])


def test_a_loss_that_is_not_a_number_is_refused_in_a_sentence() -> None:
    data = _data()
    data.features[3, 2, 1, 1] = torch.nan
    with pytest.raises(CadEdgeError, match=r"at update 1 of 8 the loss is not a number"):
        train_experts(data, _config(), 0, _quiet)


def test_the_rate_rises_and_falls_to_a_hundredth() -> None:
    config = _config(steps=101, warm_up=10, learning_rate=2.0)
    assert rate_at(0, config) == pytest.approx(0.2)
    assert rate_at(9, config) == pytest.approx(2.0)
    assert rate_at(10, config) == pytest.approx(2.0)
    assert rate_at(55, config) == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert rate_at(100, config) == pytest.approx(0.02)


def test_without_updates_experts_are_as_drawn() -> None:
    told: list[tuple[int, int]] = []
    config = _config(steps=0)
    found = train_experts(_data(), config, 0, lambda _, done, total: told.append((done, total)))
    assert told == []
    assert found.record.unexplained == {}
    assert sum(found.record.mean_gates.values()) == pytest.approx(1.0)
    train_experts(_data(), _config(steps=4), 0, lambda _, done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
