"""Figures of exported engines beside torch, worked by hand; and words against a scripted device."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cad_edge.errors import OptionError
from cad_edge_studies.cl_anomaly_comparison.agreement import (
    Agreement,
    Routing,
    agreement,
    routing_of,
    with_each_other,
    with_torch,
)
from cad_edge_studies.cl_anomaly_comparison.evaluation_images import Shown
from cad_edge_studies.cl_anomaly_comparison.explanation import (
    MOST,
    OPEN_QUESTION,
    compare_words,
    first_token,
    spread,
    torch_answers,
    until,
)
from cad_edge_studies.cl_anomaly_comparison.exported_report import exported_targets, lasting_table
from cad_edge_studies.cl_anomaly_comparison.family import LearnedFamily, read_family
from cad_edge_studies.cl_anomaly_comparison.forgetting import moved, own_object, owned_digest
from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.learn import build_model
from tests.training.cl_anomaly_samples import pictures
from tests.training.tiny_llava import save_tiny_llava


def scores(*values):
    return np.array(values, np.float32)


def said(score, task="a", verdict="normal"):
    return SimpleNamespace(score=score, task=task, verdict=verdict)


UNKNOWN = said(None, None, "unknown_product")


def test_decisions_are_signs_and_the_largest_difference_is_of_all_tasks():
    found = agreement([(scores(1, -1), scores(1.5, -1)), (scores(0.1), scores(-0.1))])
    assert found == Agreement(3, 1, 0.5)
    assert agreement([(scores(), scores())]) == Agreement(0, 0, 0.0)


def test_layouts_are_compared_where_both_have_judged():
    first = {"a": [said(1.0), said(-1.0), UNKNOWN], "b": [said(2.0, "b")]}
    second = {
        "a": [said(1.25, verdict="anomalous"), said(-1.0), said(3.0)],
        "b": [said(2.0, "a")],
    }
    found, other_verdicts = with_each_other(first, second)
    assert found == Agreement(3, 0, 0.25)
    # another verdict, a product that one of them does not know, another product
    assert other_verdicts == 3


def test_routed_images_by_where_they_went():
    found = routing_of({"a": [said(1.0), said(1.0, "b"), UNKNOWN], "b": [said(0.0, "b")]})
    assert found == Routing(unknown=1, elsewhere=1)


class Says:
    """A model whose score is its own number and the first value of the tokens."""

    def __init__(self, number):
        self.number = number

    def from_tokens(self, raw):
        return raw[:, 0, 0] + self.number


def a_family(**tokens):
    tests = {
        name: Shown((), torch.tensor(values)[:, None, None], np.zeros(len(values), bool))
        for name, values in tokens.items()
    }
    return LearnedFamily(None, (), tests)


def test_every_image_is_compared_with_the_model_of_the_task_it_was_judged_as():
    found = {"a": [said(1.0), said(12.0, "b"), UNKNOWN], "b": [said(-7.0, "b")]}
    family = a_family(a=[1.0, 2.0, 3.0], b=[-17.0])
    assert with_torch(found, {"a": Says(0), "b": Says(10)}, family) == Agreement(3, 0, 0.0)
    assert with_torch(found, {"a": Says(0), "b": Says(20)}, family) == Agreement(3, 1, 10.0)


def test_how_far_scores_moved():
    found = moved(scores(1, -1, 0.5), scores(1, 1, 0.25))
    assert (found.images, found.largest, found.flipped) == (3, 2.0, 1)
    assert found.mean == pytest.approx(0.75)


def test_what_a_task_owns_in_a_bundle():
    known = SimpleNamespace(tensors="own", joint=["generation"])
    soft = SimpleNamespace(tensors=None, joint=["of a", "of b", "generation"])
    for engine, expected in ((known, "own"), (soft, "of b")):
        manifest = SimpleNamespace(tasks={"b": SimpleNamespace(engine=engine)})
        assert own_object(manifest, "b", 1) == expected


def test_an_answer_as_far_as_its_end():
    assert until([4, 5, 9, 4], (9, 8)) == [4, 5]
    assert until([4, 5], (9,)) == [4, 5]
    assert spread(2) == [0, 1] and spread(31) == [0, 10, 20, 30]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("base") / "tiny")))


@pytest.fixture(scope="module")
def models(base):
    """Two tasks with drawn experts."""
    from tests.export.expert_samples import family

    config = Config()
    return {
        task.artifact.task: build_model(base, config, task.model_tensors())
        for task in family(base, config, 2)
    }


def test_digests_see_the_smallest_change_of_what_one_task_owns(models):
    red, blue = models.values()
    assert owned_digest(red, 0) == owned_digest(blue, 0) != owned_digest(red, 1)
    before = owned_digest(red, 0), owned_digest(red, 1)
    site = red.base.language.get_submodule("layers.1.mlp.up_proj")
    with torch.no_grad():
        site.experts.private[1][1][0, 0] += 1e-6
        assert owned_digest(red, 0) == before[0] and owned_digest(red, 1) != before[1]
        red.anchors[0, 0] += 1e-6
        assert owned_digest(red, 0) != before[0]


class Device:
    """A detector that says what torch says, but for one word about the image 1 of `blue`."""

    def __init__(self, models, shown):
        self.said = {
            (task, question): torch_answers(models[task], shown[task], [0, 1, 2], question)
            for task in shown
            for question in (None, OPEN_QUESTION)
        }

    def explain(self, path, question, max_tokens, task):
        assert max_tokens == MOST
        tokens = self.said[task, question][path]
        return SimpleNamespace(tokens=(0, *tokens[1:]) if (task, path) == ("blue", 1) else tokens)


def test_answers_that_are_not_those_of_transformers_are_counted(base, models):
    shown = {}
    for name, tint in (("red", (150, 40, 40)), ("blue", (40, 50, 150))):
        images = torch.from_numpy(pictures(base.recipe.width, tint, 3, True))
        with torch.inference_mode():
            shown[name] = Shown((0, 1, 2), models[name].raw(images), np.ones(3, bool))
    family = LearnedFamily(base, (), shown)
    found = compare_words(Device(models, shown), family, models)
    assert {name: (one.answers, one.others) for name, one in found.items()} == {
        "own question": (6, 1),
        "open question": (6, 1),
    }
    assert found["open question"].tokens > 6


def test_first_tokens_take_turns_with_decisions(tmp_path):
    paths = tuple(tmp_path / f"{number}.png" for number in range(4))
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    shown = Shown(paths, None, np.zeros(4, bool))
    calls = []
    detector = SimpleNamespace(
        detect=lambda frame, task: calls.append(("detect", task)),
        explain=lambda frame, max_tokens, task: calls.append(("explain", task, max_tokens)),
    )
    found = first_token(detector, LearnedFamily(None, (), {"a": shown, "b": shown}), 20)
    assert set(found) == {"given", "routed"} and found["given"].ratio.rounds == 20
    assert calls[:4] == [
        ("detect", "a"),
        ("explain", "a", 1),
        ("detect", None),
        ("explain", None, 1),
    ]
    assert calls[4:6] == [("detect", "b"), ("explain", "b", 1)]


def a_result(**changes):
    agreed = {"other_decisions": 0, "largest_difference": 1e-5}
    result = {
        "against_torch": {
            "shared": {"given": agreed, "routed": agreed},
            "fused": {"given": agreed},
        },
        "fused_against_shared": {"given": {**agreed, "other_verdicts": 0}},
        "lasting": [
            {
                "task": "a",
                "generations": 1,
                "tests": {"images": 8, "mean": 0.1, "largest": 0.42, "flipped": 1},
                "held_out": {"images": 5, "mean": 0.1, "largest": 0.3, "flipped": 0},
                "accuracy_then": 0.9,
                "accuracy_now": 0.8,
                "models_changed": 0,
                "versions_changed": 0,
            }
        ],
        "first_token": {"given": {"ratio": {"median": 1.2}}, "routed": {"ratio": {"median": 1.1}}},
        "words": {"own question": {"others": 0}, "open question": {"others": 0}},
    }
    return {**result, **changes}


def test_the_worst_figure_decides_what_is_reached():
    assert [one.reached for one in exported_targets(a_result())] == [True] * 8
    worse = a_result(
        against_torch={
            "shared": {"given": {"other_decisions": 0, "largest_difference": 1e-5}},
            "fused": {"given": {"other_decisions": 1, "largest_difference": 2e-3}},
        },
        words={"own question": {"others": 0}, "open question": {"others": 1}},
        first_token={"given": {"ratio": {"median": 1.6}}, "routed": {"ratio": {"median": 1.1}}},
    )
    reached = [one.reached for one in exported_targets(worse)]
    assert reached == [False, False, True, True, True, False, True, False]
    changed = [{**a_result()["lasting"][0], "versions_changed": 1}]
    assert not exported_targets(a_result(lasting=changed))[4].reached


def test_drift_of_every_task_is_a_row():
    assert lasting_table(a_result()).splitlines()[1].split() == (
        ["a", "1", "0.100", "0.420", "1", "of", "8", "0.300", "0", "of", "5", "0.900", "0.800"]
    )


def test_a_folder_without_artifacts_is_refused(tmp_path):
    with pytest.raises(
        OptionError, match="holds no artifacts; run `make result-cl_anomaly_comparison` first"
    ):
        read_family(tmp_path, tmp_path)
