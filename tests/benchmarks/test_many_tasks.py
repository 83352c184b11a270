"""Copies of an artifact."""

from pathlib import Path

import numpy as np
import pytest

from cad_edge.store.artifact import Artifact, list_artifacts, read_artifact, write_artifact
from cad_edge_benchmarks.instruments.many_tasks import multiply_artifacts

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def originals(tmp_path):
    record = Artifact.model_validate_json((GOLDEN / "artifact.json").read_bytes())
    rng = np.random.default_rng(0)
    found = []
    for position, name in enumerate(("nut", "bolt")):
        named = record.model_copy(update={"task": name, "position": position})
        tensors = {"bank": rng.random((4, 3), dtype=np.float32), "index": np.arange(3)}
        routing = {"mean": rng.random(5), "count": np.array([7])}
        witness = {"image": np.zeros((1, 8, 8, 3), np.uint8)}
        found.append(write_artifact(tmp_path / "originals", named, tensors, routing, witness))
    return found


def test_copies_differ_in_every_number_and_hardly(originals, tmp_path):
    found = multiply_artifacts(originals, tmp_path / "copies", 7)
    learned = [read_artifact(path) for path in found]
    assert len(list_artifacts(tmp_path / "copies")) == 5
    assert [one.artifact.position for one in learned] == list(range(7))
    banks = [one.tensors["bank"] for one in learned]
    assert len({bank.tobytes() for bank in banks}) == 7
    assert banks[6] == pytest.approx(banks[0], rel=1e-6)
    assert banks[6].dtype == np.float32
    assert all(one.tensors["index"].tolist() == [0, 1, 2] for one in learned)
    assert len({one.routing["mean"].tobytes() for one in learned}) == 7
