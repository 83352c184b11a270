"""Artifacts that share a generation: what their models are made of."""

import dataclasses

import numpy as np
import pytest

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import evolves, read_artifact, with_families, write_artifact
from tests.base.test_formats import RECORDS

RECORD = RECORDS["artifact"]


def learned(folder, name, position, value, method="common", options=None):
    record = RECORD.model_copy(
        update={
            "task": name,
            "position": position,
            "method": method,
            "hyperparameters": options or {"rank": 3},
        }
    )
    one = {"w": np.full((2,), value, np.float32)}
    shared = {} if method == "alone" else {"shared/w": np.full((3,), 10 * value, np.float32)}
    return read_artifact(write_artifact(folder, record, one, {}, {}, shared))


def test_a_generation_is_written_and_read_and_changes_the_identity(tmp_path):
    task = learned(tmp_path, "nut", 0, 1.0)
    assert task.evolves and evolves(tmp_path / "nut")
    np.testing.assert_array_equal(task.generation["shared/w"], [10, 10, 10])
    path = tmp_path / "nut" / "generation.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\1\1\1\1")
    assert read_artifact(tmp_path / "nut").sha256 != task.sha256


def test_a_family_is_in_stream_order_and_answered_by_its_newest_generation(tmp_path):
    bolt, nut = learned(tmp_path, "bolt", 1, 2.0), learned(tmp_path, "nut", 0, 1.0)
    other = learned(tmp_path, "lid", 2, 5.0, method="alone")
    bolt, nut, other = with_families([bolt, nut, other])
    assert [one.artifact.task for one in nut.family] == ["nut", "bolt"]
    found = nut.model_tensors()
    assert sorted(found) == ["family/index", "shared/w", "task/0000/w", "task/0001/w"]
    assert found["family/index"] == 0 and bolt.model_tensors()["family/index"] == 1
    np.testing.assert_array_equal(found["shared/w"], [20, 20, 20])
    np.testing.assert_array_equal(found["task/0000/w"], [1, 1])
    assert not other.evolves and other.family == ()
    assert other.model_tensors() is other.tensors


def test_a_family_has_one_set_of_options(tmp_path):
    tasks = [learned(tmp_path, "nut", 0, 1.0), learned(tmp_path, "bolt", 1, 1.0, options={"r": 4})]
    with pytest.raises(ArtifactError, match="nut and bolt share what common learns"):
        with_families(tasks)


def test_a_task_is_no_less_its_own_for_its_family(tmp_path):
    task = learned(tmp_path, "nut", 0, 1.0)
    (again,) = with_families([task])
    assert dataclasses.replace(again, family=()) == task
