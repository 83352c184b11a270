"""A shift of inspecting: memory, open files and threads stay what they were, and answers right."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cad_edge.store.bundle import Bundle
from cad_edge_runtime import Detector
from tests.campaign import soaking

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
COMMENT = b"\x32\x04soak"  # protobuf: the field doc_string of a model
PAUSE = 0.05  # seconds between versions
MOST_MB = 1.0  # per 10,000 frames
MOST_GROWTH_MB = 25.0  # of a run that is too short for a slope

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")


@pytest.fixture
def bundle(tmp_path) -> Path:
    """Two versions of the golden bundle: the second has a graph and a threshold of its own."""
    path = Path(shutil.copytree(GOLDEN / "bundle", tmp_path / "bundle"))
    store = Bundle(path)
    with store.lock():
        pointer, manifest = store.pointer(), store.manifest()
        red = manifest.tasks["red"]
        graph = store.read_object(red.engine.stages[-1].graph)["graph.onnx"]
        own = store.add_object({"graph.onnx": graph + COMMENT})
        stages = [*red.engine.stages[:-1], red.engine.stages[-1].model_copy(update={"graph": own})]
        strict = red.model_copy(
            update={
                "engine": red.engine.model_copy(update={"stages": stages}),
                "decision": red.decision.model_copy(update={"threshold": -1.0}),
            }
        )
        update = {
            "version": 2,
            "previous": pointer.manifest,
            "tasks": {**manifest.tasks, "red": strict},
        }
        store.commit(manifest.model_copy(update=update))
    return path


def answers(bundle: Path) -> dict[str, dict[str, tuple]]:
    """Task, verdict and score of every frame, by version."""
    found = {}
    for version in (1, 2):
        Bundle(bundle).rollback(version)
        with Detector.open(bundle, threads=1, watch=False) as detector:
            found[str(version)] = {
                f"{name}.{number}": (seen.task, seen.verdict, seen.score)
                for name, images in load_file(GOLDEN / "frames.safetensors").items()
                if not name.endswith("score")
                for number, image in enumerate(images)
                for seen in (detector.detect(image),)
            }
    return found


def soaked(bundle: Path, expected: Path, count: int) -> dict:
    """Run the process, and switch between the versions for as long as it inspects."""
    arguments = [bundle, GOLDEN / "frames.safetensors", expected, count]
    process = subprocess.Popen(
        [sys.executable, soaking.__file__, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "open\n"
        version, written = 2, 0
        while process.poll() is None:
            version = 3 - version
            Bundle(bundle).rollback(version)
            written += 1
            time.sleep(PAUSE)
        said = process.stdout.read()
    assert process.returncode == 0
    return {**json.loads(said), "written": written}


def slope(samples: np.ndarray) -> float:
    """MB per 10,000 frames after the first tenth, by least squares."""
    later = samples[len(samples) // 10 :]
    return float(np.polyfit(later[:, 0] / 10_000, later[:, 1], 1)[0])


@pytest.mark.slow
def test_soak(bundle, tmp_path, campaign, record):
    expected = tmp_path / "expected.json"
    by_version = answers(bundle)
    assert by_version["1"]["red.good.0"][1] == "normal"
    assert by_version["2"]["red.good.0"][1] == "anomalous"
    expected.write_text(json.dumps(by_version))
    began = time.perf_counter()
    found = soaked(bundle, expected, campaign["soak_frames"])
    samples = np.array(found["samples"])
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 3 * tenth], samples[-2 * tenth :]
    figures = {
        "frames": campaign["soak_frames"],
        "callers": soaking.CALLERS,
        "seconds": round(time.perf_counter() - began, 1),
        "versions_written": found["written"],
        "versions_met": found["switches"],
        "wrong_answers": len(found["wrong"]),
        "mb_after_a_tenth": round(float(np.median(early[:, 1])), 1),
        "mb_at_the_end": round(float(np.median(late[:, 1])), 1),
        "mb_per_10000_frames": round(slope(samples), 3),
        # While a version is opened there are more; what leaks is there in between, too.
        "fewest_files": [int(part[:, 2].min()) for part in (early, late)],
        "fewest_threads": [int(part[:, 3].min()) for part in (early, late)],
        "most_files": [int(part[:, 2].max()) for part in (early, late)],
        "most_threads": [int(part[:, 3].max()) for part in (early, late)],
    }
    record("soak", figures)
    assert found["wrong"] == [] and found["last_refresh_error"] is None
    assert found["switches"] > 3
    for what, more in (("files", 3), ("threads", 6)):
        before, after = figures[f"fewest_{what}"]
        assert before == after
        assert figures[f"most_{what}"][1] <= after + more
    if campaign["soak_frames"] >= 50_000:
        assert figures["mb_per_10000_frames"] < MOST_MB
    else:
        assert figures["mb_at_the_end"] - figures["mb_after_a_tenth"] < MOST_GROWTH_MB
