"""Tensors that several engines name together: one copy, joined along the first axis."""

import numpy as np
import pytest
from safetensors.numpy import save

from cad_edge.errors import BundleError
from cad_edge_runtime import Detector


def split_bank(workshop, name, parts):
    """Bind the bank of a task as ``parts`` joint objects, and nothing of its own."""
    engine = workshop.store.manifest().tasks[name].engine
    bank = workshop.tensors(engine)["bank"]
    pieces = np.array_split(bank, parts)
    joint = [
        workshop.store.add_object({"tensors.safetensors": save({"bank": piece.copy()})})
        for piece in pieces
    ]
    changed = engine.model_copy(update={"tensors": None, "joint": joint})
    workshop.change_task(name, lambda entry: entry.model_copy(update={"engine": changed}))
    return joint


@pytest.mark.parametrize("parts", [1, 3])
def test_joint_objects_answer_as_one_does(workshop, bundle, frames, parts):
    with Detector.open(bundle, watch=False) as detector:
        before = [detector.detect(frame, task="red").score for frame in frames["red.bad"]]
    split_bank(workshop, "red", parts)
    with Detector.open(bundle, watch=False) as detector:
        after = [detector.detect(frame, task="red").score for frame in frames["red.bad"]]
    assert after == before


def test_engines_that_name_the_same_objects_share_one_copy_and_one_pass(workshop, bundle):
    joint = split_bank(workshop, "red", 2)
    engine = workshop.store.manifest().tasks["red"].engine
    workshop.change_task("green", lambda entry: entry.model_copy(update={"engine": engine}))
    with Detector.open(bundle, watch=False) as detector:
        snapshot = detector._snapshot
        red, green = (snapshot.tasks[name].chain.steps[-1] for name in ("red", "green"))
        assert red.tensors["bank"] is green.tensors["bank"]
        assert red.names == green.names
        assert "+".join(joint) in snapshot.held.tensors


def test_a_version_with_one_more_object_keeps_the_others_untouched(workshop, bundle, frames):
    joint = split_bank(workshop, "red", 2)
    with Detector.open(bundle, watch=False) as detector:
        first = detector.detect(frames["red.good"][0], task="red").score
        more = workshop.store.add_object(
            {"tensors.safetensors": save({"bank": np.full((2, 8), 1e3, np.float32)})}
        )
        engine = workshop.store.manifest().tasks["red"].engine
        grown = engine.model_copy(update={"joint": [*joint, more]})
        workshop.change_task("red", lambda entry: entry.model_copy(update={"engine": grown}))
        assert detector.refresh()
        assert detector.detect(frames["red.good"][0], task="red").score == first


def test_objects_that_do_not_fit_together_are_refused(workshop, bundle):
    joint = split_bank(workshop, "red", 2)
    wide = workshop.store.add_object(
        {"tensors.safetensors": save({"bank": np.zeros((2, 9), np.float32)})}
    )
    engine = workshop.store.manifest().tasks["red"].engine
    grown = engine.model_copy(update={"joint": [*joint, wide]})
    workshop.change_task("red", lambda entry: entry.model_copy(update={"engine": grown}))
    with pytest.raises(BundleError, match="'bank' of joint objects do not fit together"):
        Detector.open(bundle, watch=False)
