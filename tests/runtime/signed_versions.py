"""Signed versions of the golden bundle, and forged ones, for the tests of signatures."""

import json
from pathlib import Path

from cad_edge.store.bundle import Bundle
from cad_edge_runtime import Detector
from tests.house.refusals import run

CHANGE = ["--task", "red", "--false-reject-rate", "0.2"]


def opens(bundle: Path, *public: Path) -> int:
    with Detector.open(bundle, threads=1, watch=False, trusted_keys=public) as detector:
        return detector.version


def signed_threshold(bundle: Path, key: Path, rate: float = 0.2) -> None:
    done = run("threshold", bundle, "--task", "red", "--false-reject-rate", rate, "--sign", key)
    assert done.exit_code == 0, done.output


def attack(bundle: Path) -> None:
    """Put a version in force whose threshold lets everything pass."""
    store = Bundle(bundle)
    with store.lock():
        pointer, manifest = store.pointer(), store.manifest()
        entry = manifest.tasks["red"]
        blind = entry.decision.model_copy(update={"threshold": 1e30})
        tasks = {**manifest.tasks, "red": entry.model_copy(update={"decision": blind})}
        update = {"version": pointer.version + 1, "previous": pointer.manifest, "tasks": tasks}
        store.commit(manifest.model_copy(update=update))


def pointer_of(bundle: Path) -> dict:
    return json.loads((bundle / "bundle.json").read_text())


def point(bundle: Path, **update: object) -> None:
    (bundle / "bundle.json").write_text(json.dumps({**pointer_of(bundle), **update}))


def store_statement(bundle: Path, said: dict, signature: bytes) -> str:
    files = {"statement.json": json.dumps(said).encode(), "statement.sig": signature}
    return Bundle(bundle)._pointer.signatures.store.add(files)
