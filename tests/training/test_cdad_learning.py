"""CDAD learns step after step: what later steps leave alone, and what has no say."""

import numpy as np
import pytest
import torch

from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.division import divide
from cad_edge_training.methods.cdad import training_loop
from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.held_out import HELD_OUT, judge
from cad_edge_training.methods.cdad.learn import build_model, learn_step
from cad_edge_training.methods.cdad.parts import Parts
from tests.training.small_cdad import (
    SIDE,
    as_task,
    options,
    request_for,
    template_in,
    textures,
)
from tests.training.small_products import LITE0, NAMES

FIRST, SECOND, _ = NAMES


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(LITE0, SIDE)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> LearnedTask:
    return template_in(tmp_path_factory.mktemp("template"))


def differing(one: Tensors, other: Tensors) -> set[str]:
    return {name for name, value in one.items() if not np.array_equal(value, other[name])}


@pytest.fixture(scope="module")
def change(template, backbone) -> dict[str, tuple[float, float]]:
    """By projection, how far scores and latents of old held-out parts move in a second step."""
    config = options(energy=1 - 1e-6, updates=20)
    (first,) = learn_step([request_for(FIRST, backbone)], config)
    model, found = build_model(backbone, config, first.shared_weights), {}
    shown = model.form.kept(first.tensors[HELD_OUT])
    old = judge(model, shown)
    for projection in ("update", "gradient", "none"):
        # The first step has nothing to project.
        other = config.model_copy(update={"projection": projection})
        earlier = (as_task(template, FIRST, first, other),)
        (second,) = learn_step([request_for(SECOND, backbone, earlier=earlier)], other)
        new = judge(build_model(backbone, other, second.shared_weights), shown)
        found[projection] = (
            float(np.abs(old.scores.scores - new.scores.scores).max()),
            float((old.restored - new.restored).abs().mean()),
        )
    return found


class TestForgetting:
    def test_projected_updates_leave_old_products_alone(self, change):
        for place in (0, 1):
            assert change["update"][place] < change["none"][place] / 10
        assert change["none"][0] > 0.5

    def test_projected_gradients_leave_them_less_alone(self, change):
        for place in (0, 1):
            assert change["update"][place] < change["gradient"][place] / 2


def test_where_nothing_is_projected_no_basis_is_stored(backbone):
    found = {
        projection: learn_step([request_for(FIRST, backbone)], options(projection=projection))[0]
        for projection in ("update", "none")
    }
    projected, free = (found[one].shared_weights for one in ("update", "none"))
    assert differing(free, projected) == set()
    assert all(name.startswith("basis/") for name in projected.keys() - free.keys())
    assert projected.keys() > free.keys()


@pytest.mark.parametrize("bases", ["isvd", "paper_isvd"])
def test_the_incremental_decompositions_learn_too(template, backbone, bases):
    config = options(bases=bases)
    (first,) = learn_step([request_for(FIRST, backbone)], config)
    earlier = (as_task(template, FIRST, first, config),)
    (second,) = learn_step([request_for(SECOND, backbone, earlier=earlier)], config)
    shares = [LayerBases.from_tensors(one.shared_weights).share() for one in (first, second)]
    assert float(second.tensors["free"]) == pytest.approx(1 - shares[0].overall)
    assert (shares[1].overall > shares[0].overall) == (bases == "isvd")


@pytest.mark.parametrize("projection", ["update", "none"])
def test_weights_decay_in_the_first_step_alone(template, backbone, projection, monkeypatch):
    found, optimiser = [], torch.optim.AdamW

    def spy(parameters, rate, weight_decay):
        found.append(weight_decay)
        return optimiser(parameters, rate, weight_decay=weight_decay)

    monkeypatch.setattr(training_loop.torch.optim, "AdamW", spy)
    config = options(projection=projection, updates=1, weight_decay=0.25)
    (first,) = learn_step([request_for(FIRST, backbone)], config)
    earlier = (as_task(template, FIRST, first, config),)
    learn_step([request_for(SECOND, backbone, earlier=earlier)], config)
    assert found == [0.25, 0.0]


class TestHeldOut:
    def test_held_out_parts_change_no_weight(self, backbone):
        images = textures(FIRST, 12)
        held = divide(12, 0.1, 0, FIRST).held_out
        changed = images.copy()
        changed[held] = textures(SECOND, len(held))
        ours, theirs = (
            learn_step([request_for(FIRST, backbone, one)], options())[0]
            for one in (images, changed)
        )
        assert differing(ours.shared_weights, theirs.shared_weights) == set()
        assert len(ours.tensors["held_out"]) == len(held)
        assert ours.calibration.scores != theirs.calibration.scores

    def test_groups_are_held_out_whole(self, backbone):
        groups = tuple(f"roll {place // 3}" for place in range(12))
        division = divide(12, 0.1, 0, FIRST, groups)
        images = textures(FIRST, 12)
        whole = {groups[place] for place in division.held_out}
        assert whole.isdisjoint(groups[place] for place in division.learned)
        changed = images.copy()
        changed[[place for place in range(12) if groups[place] in whole]] = 0
        ours, theirs = (
            learn_step([request_for(FIRST, backbone, one, groups=groups)], options())[0]
            for one in (images, changed)
        )
        assert differing(ours.shared_weights, theirs.shared_weights) == set()
        assert ours.calibration.groups == len(whole)

    def test_what_is_explained_is_told_by_hand(self, backbone):
        images = textures(FIRST, 12)
        (found,) = learn_step([request_for(FIRST, backbone, images)], options(updates=30))
        model = build_model(backbone, options(updates=30), found.shared_weights)
        division = divide(12, 0.1, 0, FIRST)
        with torch.inference_mode():
            learned, held = (
                model.parts(torch.from_numpy(images[one])).latents
                for one in (division.learned, division.held_out)
            )
            lost = (held - model.reconstructed(Parts(held))).square().sum()
            usual = (held - learned.mean(0)).square().sum()
        assert float(found.tensors["explained"]) == pytest.approx(1 - float(lost / usual), abs=1e-3)
        assert float(found.tensors["free"]) == 1
