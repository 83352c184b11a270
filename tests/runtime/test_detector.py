"""One frame, many frames: routing, unknown products, given products, bad frames."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import BundleError, ImageError, OptionError, UnknownTask
from cad_edge_runtime import Detection, Detector
from cad_edge_runtime.frames import depth_batch, read_frame

pytestmark = pytest.mark.torchless
TASKS = ("blue", "green", "red")


@pytest.fixture
def detector(bundle):
    with Detector.open(bundle, threads=1, watch=False) as opened:
        yield opened


def same(one: Detection, other: Detection) -> bool:
    """Equal but for the last digits that a batch may move."""
    return (
        (one.task, one.verdict, one.p_value, one.size)
        == (other.task, other.verdict, other.p_value, other.size)
        and one.score == pytest.approx(other.score, abs=1e-5)
        and one.similarity == pytest.approx(other.similarity, abs=1e-5)
        and [d.box for d in one.defects] == [d.box for d in other.defects]
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ["good", "bad"])
def test_routes_and_answers_as_recorded(detector, frames, task, kind):
    for image, score in zip(frames[f"{task}.{kind}"], frames[f"{task}.{kind}.score"], strict=True):
        found = detector.detect(image)
        assert found.task == found.nearest == task
        assert found.verdict == ("normal" if kind == "good" else "anomalous")
        assert found.score == pytest.approx(float(score), abs=1e-5)
        assert found.similarity > 0.5 > found.runner_up.similarity
        assert found.runner_up.task != task
        assert (found.score > found.threshold) == (kind == "bad")
        assert found.anomaly_map.shape == (16, 16)
        assert found.anomaly_map.dtype == np.float32
        assert found.full_size_map().shape == (32, 32)
        assert found.false_reject_supported is True
        assert found.version == 1


def test_defect_is_where_it_was_painted(detector, frames):
    (defect,) = detector.detect(frames["red.bad"][0]).defects
    left, top, right, bottom = defect.box
    assert left <= 20 and right >= 26 and top <= 8 and bottom >= 14
    assert right - left <= 10 and bottom - top <= 10
    assert detector.detect(frames["red.good"][0]).defects == ()


def test_defects_are_in_pixels_of_the_frame_as_it_came(detector, frames):
    large = np.repeat(np.repeat(frames["red.bad"][0], 10, axis=0), 5, axis=1)
    found = detector.detect(large)
    assert found.size == (320, 160) and found.full_size_map().shape == (320, 160)
    left, top, right, bottom = found.defects[0].box
    assert 90 <= left <= 105 and 125 <= right <= 145
    assert 60 <= top <= 85 and 135 <= bottom <= 165


def test_unknown_product_pays_for_the_selector_alone(detector, runs, amber):
    found = detector.detect(amber[0])
    assert found.verdict == "unknown_product"
    assert found.nearest in TASKS and found.similarity < 0.5
    assert found.task is found.score is found.p_value is found.threshold is None
    assert found.calibrated_score is found.anomaly_map is found.full_size_map() is None
    assert found.defects == () and found.timings.detect == 0
    assert len(runs) == 2


def test_trunk_runs_once_for_routing_and_detection(detector, runs, frames):
    detector.detect(frames["red.good"][0])
    entry = detector.manifest.selector.engine.stages[0].graph
    assert runs.count(entry) == 1 and len(runs) == 3


def test_given_task_skips_the_selector(detector, runs, frames):
    found = detector.detect(frames["green.good"][0], task="green")
    assert found.task == "green" and found.verdict == "normal"
    assert found.similarity is found.runner_up is found.nearest is None
    assert len(runs) == 2
    routed = detector.detect(frames["green.good"][0])
    assert routed.score == found.score


def test_given_task_is_believed(detector, frames):
    assert detector.detect(frames["green.good"][0], task="red").task == "red"


def test_batch_answers_as_single_frames(detector, frames, amber, runs):
    images = [
        frames[f"{task}.{kind}"][n] for n in (0, 1) for task in TASKS for kind in ("good", "bad")
    ]
    images.insert(5, amber[0])
    images.append(np.repeat(frames["red.good"][0], 2, axis=0))
    single = [detector.detect(image) for image in images]
    runs.clear()
    batch = detector.detect_batch(images)
    # One pass of trunk and selector, two heads, and the fused graph.
    assert len(runs) == 5
    assert all(same(one, other) for one, other in zip(batch, single, strict=True))
    assert [one.task for one in detector.detect_batch(images, task="red")] == ["red"] * len(images)


def test_batch_larger_than_one_pass(detector, frames):
    images = [frames["red.good"][0], frames["blue.bad"][1]] * 20
    assert [one.task for one in detector.detect_batch(images)] == ["red", "blue"] * 20
    assert detector.detect_batch([]) == []


def test_inputs_of_every_kind_agree(detector, frames, tmp_path):
    image = frames["red.bad"][0]
    path = tmp_path / "frame.png"
    Image.fromarray(image).save(path)
    opaque = np.concatenate([image, np.full((32, 32, 1), 255, np.uint8)], axis=2)
    expected = detector.detect(image).score
    for other in (path, str(path), image / 255.0, image.astype(np.uint16) * 257, opaque):
        assert detector.detect(other).score == pytest.approx(expected, abs=1e-6)
    assert detector.detect(image[..., 0]).task is None


def test_timings_add_up_to_the_call(detector, frames):
    timings = detector.detect(frames["red.bad"][0]).timings
    assert min(timings.prepare, timings.select, timings.detect, timings.post) > 0


def test_detection_is_json_in_the_order_of_the_contract(detector, frames, amber, tmp_path):
    record = detector.detect(frames["red.bad"][0]).to_dict(tmp_path / "a.png")
    keys = ["path", "task", "verdict", "similarity", "score", "p_value", "threshold", "defects"]
    assert list(record)[:8] == keys
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    json.dumps(detector.detect(amber[0]).to_dict(), allow_nan=False)


BAD_FRAMES = {
    "nan": np.full((32, 32, 3), np.nan),
    "int64": np.zeros((32, 32, 3), np.int64),
    "two channels": np.zeros((32, 32, 2), np.uint8),
    "one pixel": np.zeros((1, 1, 3), np.uint8),
    "five axes": np.zeros((1, 1, 32, 32, 3), np.uint8),
    "list": [[0, 0], [0, 0]],
}


@pytest.mark.parametrize("image", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_bad_frame_is_one_sentence(detector, frames, image):
    with pytest.raises(ImageError) as problem:
        detector.detect(image)
    assert "\n" not in str(problem.value)
    with pytest.raises(ImageError, match=r"^image 1: "):
        detector.detect_batch([frames["red.good"][0], image])


def test_bad_depth_is_one_sentence(detector, frames):
    image = frames["red.good"][0]
    for depth, words in (
        (np.zeros((32, 32)), "float32"),
        (np.full((32, 32), np.inf, np.float32), "infinite"),
        (np.zeros((16, 32), np.float32), "register"),
    ):
        with pytest.raises(ImageError, match=words):
            detector.detect(image, depth=depth)


def test_depth_keeps_measurements_and_gaps(rng):
    """Averaging neighbours would turn a gap, 0, into a wrong distance."""
    image = np.zeros((64, 96, 3), np.uint8)
    depth = rng.uniform(500, 600, (64, 96)).astype(np.float32)
    depth[::2] = 0
    recipe = ImageRecipe(width=32, height=16)
    small = depth_batch([read_frame(image, depth)], recipe, "task 'a'")
    assert small.shape == (1, 16, 32) and np.isin(small, depth).all()
    assert small[0, 0, 0] == depth[2, 1]
    same_size = ImageRecipe(width=96, height=64)
    assert (depth_batch([read_frame(image, depth)], same_size, "task 'a'")[0] == depth).all()
    with pytest.raises(ImageError, match="task 'a' inspects depth"):
        depth_batch([read_frame(image, None)], recipe, "task 'a'")


def test_unknown_task_lists_the_known_ones(detector, frames):
    with pytest.raises(UnknownTask, match="'reds'; it holds blue, green, red"):
        detector.detect(frames["red.good"][0], task="reds")
    with pytest.raises(UnknownTask):
        detector.detect_batch([], task="reds")


def test_no_task_at_all(workshop, bundle, frames):
    workshop.forget_all()
    with Detector.open(bundle, watch=False) as detector:
        assert detector.tasks() == ()
        with pytest.raises(UnknownTask, match="holds no task"):
            detector.detect(frames["red.good"][0])


def test_tasks_version_and_device(detector):
    assert detector.tasks() == TASKS
    assert (detector.version, detector.device) == (1, "cpu")


def test_closed_detector_says_so(bundle, frames):
    detector = Detector.open(bundle)
    detector.close()
    detector.close()
    with pytest.raises(BundleError, match="closed"):
        detector.detect(frames["red.good"][0])


def test_threads_must_be_positive(bundle):
    with pytest.raises(OptionError, match="threads=0"):
        Detector.open(bundle, threads=0)


@pytest.mark.parametrize(
    "folder", [None, 3, b"bundle", [], "a\0b", "\ud800", b"x" * 5000], ids=lambda x: repr(x)[:9]
)
def test_what_is_no_path_of_a_bundle(folder):
    with pytest.raises(BundleError, match="is not the path of a folder") as problem:
        Detector.open(folder)
    assert len(str(problem.value)) < 300


@pytest.mark.parametrize("watch", ["no", None, 2, []])
def test_watch_is_true_or_false(bundle, watch):
    with pytest.raises(OptionError, match=r"^watch=.* is not allowed; give True or False"):
        Detector.open(bundle, watch=watch)


@pytest.mark.parametrize("task", [[], ["red"], 3, b"red", {}, np.array(["red"])], ids=repr)
def test_task_is_a_name(detector, frames, task):
    image = frames["red.good"][0]
    for call in (
        lambda: detector.detect(image, task=task),
        lambda: detector.detect_batch([image], task=task),
        lambda: detector.conversation(image, task=task),
        lambda: detector.explain(image, task=task),
    ):
        with pytest.raises(OptionError, match="is not the name of a product"):
            call()


STARTUP = """
import resource, sys, time
from cad_edge.data.image import ImageRecipe
from cad_edge_runtime import Detector
from safetensors.numpy import load_file
frame = load_file(sys.argv[2])["red.good"][0]
assert Detector.open(sys.argv[1], watch=False).detect(frame).verdict == "normal"
usage = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss: it starts from what the parent held when it forked.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(usage.ru_utime + usage.ru_stime, int(peak.split()[1]) / 1024, "torch" in sys.modules)
"""


def test_first_verdict_is_quick_and_small(bundle):
    """Processor time instead of wall-clock time, which other processes would stretch."""
    frames = Path(__file__).parents[1] / "golden" / "frames.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", STARTUP, str(bundle), str(frames)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seconds, megabytes, torch = done.stdout.split()
    assert float(seconds) < 1.5 and float(megabytes) < 250 and torch == "False"
