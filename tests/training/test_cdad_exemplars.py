"""Exemplars of older products: which are kept, what they hold, and that they hold it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cad_edge.store.artifact import LearnedTask
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.methods.cdad.exemplars import EXEMPLARS, RESTORED, Exemplars, exemplars_of
from cad_edge_training.methods.cdad.feature_form import FeatureForm
from cad_edge_training.methods.cdad.held_out import HELD_OUT, judge, of_half
from cad_edge_training.methods.cdad.learn import build_model, learn_step
from cad_edge_training.methods.cdad.network import Network, sampling_of
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.training_loop import rate_at
from tests.training.small_cdad import (
    SIDE,
    as_task,
    drawn_data,
    options,
    request_for,
    template_in,
)
from tests.training.small_products import LITE0, NAMES

CHANNELS, GRID = 8, (4, 4)
FIRST, SECOND, _ = NAMES


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(LITE0, SIDE)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> LearnedTask:
    return template_in(tmp_path_factory.mktemp("template"))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(options(), CHANNELS, GRID).eval()


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(1, CHANNELS, *GRID)


def test_spread_takes_turns_of_good_and_defective() -> None:
    data = drawn_data(images=9)
    found = data.spread(5)
    expected = [
        data.clean.latents[0],
        data.defective.latents[2, 0],
        data.clean.latents[4],
        data.defective.latents[6, 1],
        data.clean.latents[8],
    ]
    assert torch.equal(found.latents, torch.stack(expected))
    assert len(data.spread(100)) == 9
    assert torch.equal(data.spread(1).latents, data.clean.latents[:1])


def test_none_are_kept_unless_asked_for(backbone, network, noise) -> None:
    none, four = (FeatureForm(backbone, options(exemplars=count)) for count in (0, 4))
    assert exemplars_of(none, network, drawn_data(), noise) == {}
    assert Exemplars.of_tasks((), noise, four) is None


def test_kept_ones_are_restored_as_the_device_would(backbone, network, noise) -> None:
    config, data = options(exemplars=4), drawn_data()
    tensors = exemplars_of(FeatureForm(backbone, config), network, data, noise)
    assert {name: one.dtype for name, one in tensors.items()} == {
        EXEMPLARS: np.float16,
        RESTORED: np.float16,
    }
    latents = of_half(tensors[EXEMPLARS])
    torch.testing.assert_close(latents, data.spread(4).latents, atol=1e-2, rtol=1e-3)
    with torch.no_grad():
        restored = network(Parts(latents), noise, sampling_of(config))
    torch.testing.assert_close(of_half(tensors[RESTORED]), restored, atol=1e-2, rtol=1e-2)


def test_the_loss_is_the_mean_square_of_the_change_for_every_product(network, noise) -> None:
    parts, config = drawn_data().clean.at(slice(1)), options()
    with torch.no_grad():
        restored = network(parts, noise, sampling_of(config))
    kept = Exemplars(parts, restored - 0.5, noise, sampling_of(config), weight=3.0)
    assert kept.loss(network).item() == pytest.approx(3 * 0.25, rel=1e-4)
    assert replace(kept, restored=restored).loss(network).item() == pytest.approx(0, abs=1e-8)


def test_products_weigh_alike_however_many_there_are(template, backbone, noise) -> None:
    config = options(exemplars=3, distillation=2.0)
    (first,) = learn_step([request_for(FIRST, backbone)], config)
    form, task = FeatureForm(backbone, config), as_task(template, FIRST, first, config)
    one, three = (Exemplars.of_tasks((task,) * n, noise, form) for n in (1, 3))
    assert one is not None and three is not None
    assert (one.weight, three.weight) == (2.0, 6.0)
    assert (len(one.parts), len(three.parts)) == (3, 9)
    without = replace(task, tensors={HELD_OUT: task.tensors[HELD_OUT]})
    assert Exemplars.of_tasks((without,), noise, form) is None
    none = FeatureForm(backbone, options(exemplars=0))
    assert Exemplars.of_tasks((task,), noise, none) is None


def test_exemplars_hold_what_old_parts_are_restored_to(template, backbone) -> None:
    config = options(updates=30, exemplars=6, distillation=10.0, projection="none")
    (first,) = learn_step([request_for(FIRST, backbone)], config)
    parts = Parts(of_half(first.tensors[HELD_OUT]))
    old = judge(build_model(backbone, config, first.shared_weights), parts)
    moved = {}
    for kept in (6, 0):
        other = config.model_copy(update={"exemplars": kept})
        earlier = (as_task(template, FIRST, first, other),)
        (second,) = learn_step([request_for(SECOND, backbone, earlier=earlier)], other)
        new = judge(build_model(backbone, other, second.shared_weights), parts)
        moved[kept] = float((new.restored - old.restored).square().mean())
    assert moved[6] < 0.7 * moved[0], moved


def test_what_a_later_step_is_held_to_is_what_each_product_was_restored_to_when_learned(
    template, backbone, noise
) -> None:
    config = options(exemplars=2)
    (first,) = learn_step([request_for(FIRST, backbone)], config)
    tasks = (as_task(template, FIRST, first, config),)
    (second,) = learn_step([request_for(SECOND, backbone, earlier=tasks)], config)
    tasks += (as_task(template, SECOND, second, config),)
    found = Exemplars.of_tasks(tasks, noise, FeatureForm(backbone, config))
    assert found is not None
    for place, task in enumerate(tasks):
        rows = slice(2 * place, 2 * place + 2)
        assert np.array_equal(found.restored[rows].half().numpy(), task.tensors[RESTORED])
    assert not np.array_equal(second.tensors[RESTORED], first.tensors[RESTORED])


def test_a_linear_schedule_rises_and_falls_to_nothing() -> None:
    linear = options(schedule="linear", updates=100)
    rates = [rate_at(update, linear) for update in range(100)]
    assert rates[:2] == pytest.approx([1 / 20, 2 / 20 * 0.99])
    assert rates[60] == pytest.approx(0.4)
    assert rates[-1] == pytest.approx(0.01)
    assert [rate_at(update, options()) for update in (0, 3)] == [1.0, 1.0]
