"""From images of good parts to verdicts on a device without torch, and nothing forgotten."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.store.bundle import Bundle
from cad_edge_runtime import Detector
from tests.export.test_crash import ENVIRONMENT
from tests.training.small_products import NAMES, texture

DEVICE = """
import sys, json
for name in ("torch", "onnx", "transformers", "sklearn", "scipy"):
    sys.modules[name] = None
from pathlib import Path
from cad_edge_runtime import Detector
with Detector.open(sys.argv[1], device="cpu", watch=False) as detector:
    for path in sys.argv[2:]:
        found = detector.detect(Path(path))
        shape = None if found.anomaly_map is None else list(found.anomaly_map.shape)
        row = {"task": found.task, "verdict": found.verdict, "score": found.score,
               "p_value": found.p_value, "map": shape, "nearest": found.nearest}
        print(json.dumps(row))
"""


def stain(image: np.ndarray) -> np.ndarray:
    """Tint a hundredth of a copy: enough to be a defect, too little to be another product."""
    stained = image.copy()
    part = stained[30:38, 34:42]
    part[:] = 0.6 * part + 0.4 * np.array((250, 240, 60))
    return stained


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> dict[str, Path]:
    """New parts by ``<task>.<good|bad>.<number>``, and a product never learned."""
    rng = np.random.default_rng(77)
    folder, found = tmp_path_factory.mktemp("frames"), {}
    for name in NAMES:
        for number in range(4):
            good = texture(name, rng)
            for kind, image in (("good", good), ("bad", stain(good))):
                path = folder / f"{name}.{kind}.{number}.png"
                Image.fromarray(image).save(path)
                found[path.stem] = path
    stranger = rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(stranger).save(folder / "stranger.png")
    return {**found, "stranger": folder / "stranger.png"}


def on_device(bundle: Path, paths: list[Path]) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, str(bundle), *map(str, paths)],
        env={**ENVIRONMENT, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("layout", ["shared", "fused"])
def test_verdicts_without_torch(layout, request, frames):
    bundle = request.getfixturevalue(layout)
    names = Detector.open(bundle, watch=False).tasks()
    asked = {key: path for key, path in frames.items() if key.partition(".")[0] in names}
    rows = dict(zip(asked, on_device(bundle, list(asked.values())), strict=True))
    assert [row["task"] for row in rows.values()] == [key.partition(".")[0] for key in rows]
    assert all(row["map"] == [64, 64] for row in rows.values())
    bad = [row for key, row in rows.items() if ".bad." in key]
    assert {row["verdict"] for row in bad} == {"anomalous"}
    good = [row for key, row in rows.items() if ".good." in key]
    # A tenth of good parts may be rejected, and ten images make the threshold a rough one.
    assert sum(row["verdict"] == "normal" for row in good) >= 0.6 * len(good)
    assert max(row["p_value"] for row in bad) <= min(max(row["p_value"] for row in good), 0.1)
    (stranger,) = on_device(bundle, [frames["stranger"]])
    assert stranger["verdict"] == "unknown_product" and stranger["score"] is None


@pytest.mark.parametrize("layout", ["shared", "fused"])
def test_scores_of_the_first_task_stay_bit_identical(layout, request, frames):
    """With the task given, before and after learning others; also for frames of the others."""
    before, after = request.getfixturevalue(f"{layout}_pair")
    first = NAMES[0]
    assert list(Bundle(before).manifest().tasks) == [first]
    assert len(Bundle(after).manifest().tasks) > 1
    with (
        Detector.open(before, device="cpu", threads=1, watch=False) as old,
        Detector.open(after, device="cpu", threads=1, watch=False) as new,
    ):
        for path in frames.values():
            then, now = old.detect(path, task=first), new.detect(path, task=first)
            assert then.score == now.score and then.p_value == now.p_value
            assert then.anomaly_map.tobytes() == now.anomaly_map.tobytes()
            assert then.verdict == now.verdict and then.threshold == now.threshold


def test_layouts_give_the_same_verdicts(shared, fused, frames):
    with (
        Detector.open(shared, device="cpu", watch=False) as one,
        Detector.open(fused, device="cpu", watch=False) as other,
    ):
        for name in NAMES[:2]:
            calibration = one.manifest.tasks[name].calibration
            spread = calibration.scores[-1] - calibration.scores[0]
            for path in frames.values():
                ours, theirs = one.detect(path, task=name), other.detect(path, task=name)
                assert ours.verdict == theirs.verdict
                assert abs(ours.score - theirs.score) <= 1e-4 * max(spread, abs(ours.score))


def test_new_task_is_picked_up_by_an_open_detector(shared_pair, frames, tmp_path):
    """The older version's folder becomes the newer one by copying objects, then the pointer."""
    before, after = shared_pair
    place = Path(shutil.copytree(before, tmp_path / "bundle"))
    with Detector.open(place, device="cpu", watch=False) as detector:
        score = detector.detect(frames["checks.good.0"]).score
        for folder in ("objects", "manifests"):
            shutil.copytree(after / folder, place / folder, dirs_exist_ok=True)
        shutil.copy(after / "bundle.json", place / "bundle.json")
        assert detector.refresh() and detector.tasks() == tuple(sorted(NAMES))
        assert detector.detect(frames["waves.good.0"]).task == "waves"
        assert detector.detect(frames["checks.good.0"]).score == score
