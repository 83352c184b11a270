"""Learning drawn experts together: what it finds, what it repeats, and when gates collapse."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import (
    Layout,
    channel_statistics,
    standardised,
)
from cad_edge_training.methods.anomaly_moe.drawn.router import route
from cad_edge_training.methods.anomaly_moe.drawn.training_data import DrawnExperts, TrainingData
from cad_edge_training.methods.anomaly_moe.drawn.training_loop import (
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
        "steps": 80,
        "warm_up": 5,
        "batch": 12,
        "learning_rate": 1e-2,
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


@pytest.mark.parametrize("routing", ["top_k", "per_level"])
def test_comparable_losses_keep_every_level_and_raw_ones_do_not(routing: str) -> None:
    comparable = _config(routing=routing)
    raw = _config(routing=routing, raw_losses=True)
    kept = train_experts(_data(), comparable, 0, _quiet)
    collapsed = train_experts(_data(), raw, 0, _quiet)
    assert _least(kept, comparable) >= 0.1
    assert _least(collapsed, raw) < 0.1
    assert min(kept.record.mean_gates.values()) == pytest.approx(_least(kept, comparable))
    # Gates of patch experts collapsed, so that those did not learn.
    assert min(collapsed.record.mean_gates, key=collapsed.record.mean_gates.__getitem__) == "patch"
    assert kept.record.unexplained["patch"] < 0.7
    assert kept.record.unexplained["global"] < 0.9
