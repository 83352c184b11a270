"""Artifacts that share weights: what their models are made of."""

import dataclasses

import numpy as np
import pytest

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import evolves, read_artifact, with_sharing_tasks, write_artifact
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


def test_shared_weights_are_written_and_read_and_change_the_identity(tmp_path):
    task = learned(tmp_path, "nut", 0, 1.0)
    assert task.evolves and evolves(tmp_path / "nut")
    np.testing.assert_array_equal(task.shared_weights["shared/w"], [10, 10, 10])
    assert learned(tmp_path / "other", "nut", 0, 1.0).sha256 == task.sha256
    assert learned(tmp_path / "another", "nut", 0, 1.5).sha256 != task.sha256
    path = tmp_path / "nut" / "generation.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\1\1\1\1")
    with pytest.raises(ArtifactError, match=r"generation\.safetensors is not what artifact\.json"):
        read_artifact(tmp_path / "nut")


def test_sharing_tasks_are_in_stream_order_and_answered_by_the_newest_weights(tmp_path):
    bolt, nut = learned(tmp_path, "bolt", 1, 2.0), learned(tmp_path, "nut", 0, 1.0)
    other = learned(tmp_path, "lid", 2, 5.0, method="alone")
    bolt, nut, other = with_sharing_tasks([bolt, nut, other])
    assert [one.artifact.task for one in nut.sharing_tasks] == ["nut", "bolt"]
    found = nut.model_tensors()
    assert sorted(found) == ["shared/w", "sharing_tasks/index", "task/0000/w", "task/0001/w"]
    assert found["sharing_tasks/index"] == 0 and bolt.model_tensors()["sharing_tasks/index"] == 1
    np.testing.assert_array_equal(found["shared/w"], [20, 20, 20])
    np.testing.assert_array_equal(found["task/0000/w"], [1, 1])
    assert not other.evolves and other.sharing_tasks == ()
    assert other.model_tensors() is other.tensors


def test_shared_weights_have_one_set_of_options(tmp_path):
    tasks = [learned(tmp_path, "nut", 0, 1.0), learned(tmp_path, "bolt", 1, 1.0, options={"r": 4})]
    with pytest.raises(ArtifactError, match="nut and bolt share what common learns"):
        with_sharing_tasks(tasks)


def test_a_task_is_no_less_its_own_for_what_it_shares(tmp_path):
    task = learned(tmp_path, "nut", 0, 1.0)
    (again,) = with_sharing_tasks([task])
    assert dataclasses.replace(again, sharing_tasks=()) == task
