"""Frames with depth, frames without, and what answers either."""

import json

import numpy as np
import pytest

from cad_edge.data.depth_files import decode_depth
from cad_edge.errors import BundleError, ImageError, IntegrityError
from cad_edge_runtime import Detector
from tests.runtime.golden_depth import give_depth, plane

pytestmark = pytest.mark.torchless

NEEDS_DEPTH = r"task 'red' inspects depth as well; give depth= with the image, or export what"


@pytest.fixture
def alone(bundle, workshop):
    """A detector whose task `red` needs depth."""
    give_depth(workshop, "red", stand_in=False)
    with Detector.open(bundle, threads=1, watch=False) as opened:
        yield opened


@pytest.fixture
def both(bundle, workshop):
    """A detector whose task `red` looks at depth where there is depth."""
    give_depth(workshop, "red", stand_in=True)
    with Detector.open(bundle, threads=1, watch=False) as opened:
        yield opened


@pytest.fixture
def red(frames) -> np.ndarray:
    """A good part of `red`."""
    return frames["red.good"][0]


def test_depth_reaches_the_engine_in_its_own_units(alone, red):
    depth = plane(500)
    found = alone.detect(red, depth=depth)
    assert (found.task, found.verdict, found.depth_used) == ("red", "normal", True)
    assert found.score == pytest.approx(float(depth.mean()), rel=1e-6)
    assert found.score <= found.threshold == pytest.approx(505, abs=0.5)
    far = alone.detect(red, depth=plane(509))
    assert (far.verdict, far.p_value) == ("anomalous", 1 / 41)


def test_depth_comes_at_the_size_of_its_image(alone, red):
    large = np.repeat(np.repeat(red, 3, axis=0), 3, axis=1)
    found = alone.detect(large, depth=np.repeat(np.repeat(plane(500), 3, axis=0), 3, axis=1))
    assert found.score == pytest.approx(float(plane(500).mean()), rel=1e-6)
    with pytest.raises(ImageError, match="the depth is 32x32 px but the image is 96x96 px"):
        alone.detect(large, depth=plane(500))


def test_without_depth_the_stand_in_judges_by_its_own_calibration(both, frames, workshop):
    entry = workshop.store.manifest().tasks["red"]
    other = entry.without_depth
    for kind in ("good", "bad"):
        image, score = frames[f"red.{kind}"][0], float(frames[f"red.{kind}.score"][0])
        found = both.detect(image)
        assert (found.task, found.depth_used) == ("red", False)
        assert found.score == pytest.approx(score, abs=1e-5)
        assert found.threshold == other.decision.threshold != entry.decision.threshold
        assert found.verdict == ("normal" if kind == "good" else "anomalous")
        below = sum(value < found.score for value in other.calibration.scores)
        assert found.p_value == (1 + 40 - below) / 41
    assert both.detect(frames["red.bad"][0]).defects != ()
    assert both.detect(frames["red.good"][0], depth=plane(500)).depth_used is True


def test_without_depth_and_without_stand_in_it_is_refused(alone, red):
    for given in ({}, {"task": "red"}):
        with pytest.raises(ImageError, match=f"^{NEEDS_DEPTH} answers without it"):
            alone.detect(red, **given)


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (np.zeros((32, 32), np.float32), "the depth holds no measurement, and task 'red' inspects"),
        (plane(500) / 1000, "the depth lies around 0.5002, and that of task 'red' between 490 and"),
        (plane(500) * 10, "the depth lies around 5002, and that of task 'red' between 490 and 51"),
        (-plane(500), "the depth holds negative values; give 0 where nothing was measured"),
        (np.full((32, 32), np.nan, np.float32), "the depth holds NaN or infinite values; give 0"),
    ],
)
@pytest.mark.parametrize("stand_in", [False, True])
def test_depth_of_another_sensor_is_refused_before_the_engine_runs(
    bundle, workshop, red, runs, depth, words, stand_in
):
    """Also where a stand-in could answer: who gives depth wants it looked at."""
    engine = give_depth(workshop, "red", stand_in).after.engine
    with Detector.open(bundle, threads=1, watch=False) as detector:
        for given in ({}, {"task": "red"}):
            with pytest.raises(ImageError) as problem:
                detector.detect(red, depth=depth, **given)
            assert str(problem.value).startswith(words) and "\n" not in str(problem.value)
    assert engine.stages[1].graph not in runs


def test_most_of_the_depth_may_lie_beside_the_range_that_was_learned(alone, red):
    """A raised edge or a dent is a defect and no other unit: half of it has to be near."""
    depth = plane(500)
    depth[:15] = 900
    assert alone.detect(red, depth=depth).depth_used is True
    depth[:20] = 900
    with pytest.raises(ImageError, match="the depth lies around 900"):
        alone.detect(red, depth=depth)


@pytest.mark.parametrize("depth", [None, np.zeros((32, 32), np.float32), plane(0.5)])
def test_an_unknown_product_needs_no_depth(alone, amber, depth):
    found = alone.detect(amber[0], depth=depth)
    assert (found.verdict, found.depth_used) == ("unknown_product", None)


@pytest.mark.parametrize("task", ["green", "blue"])
def test_depth_is_ignored_where_nothing_looks_at_it(both, frames, task):
    image = frames[f"{task}.bad"][0]
    plain = both.detect(image)
    for depth in (plane(500), np.zeros((32, 32), np.float32), plane(0.5)):
        found = both.detect(image, depth=depth)
        assert (found.task, found.score, found.depth_used) == (task, plain.score, False)


def test_a_file_is_read_as_an_array_is(alone, red, tmp_path):
    from PIL import Image

    Image.fromarray(plane(500).astype(np.uint16)).save(tmp_path / "depth.png")
    found = alone.detect(red, depth=tmp_path / "depth.png")
    assert found.score == alone.detect(red, depth=decode_depth(tmp_path / "depth.png")).score


def test_what_answered_is_said_in_json(both, red, amber):
    for given, used in (
        ({"image": red, "depth": plane(500)}, True),
        ({"image": red}, False),
        ({"image": amber[0]}, None),
    ):
        record = both.detect(**given).to_dict()
        assert record["depth_used"] is used
        assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_batch_of_frames_with_and_without_depth(both, frames, amber, runs, workshop):
    images = [
        frames["red.good"][0],
        frames["red.bad"][0],
        amber[0],
        frames["blue.good"][0],
        frames["red.good"][1],
        frames["green.bad"][0],
        frames["red.bad"][1],
    ]
    depths = [plane(500), None, plane(0.5), plane(500), None, None, plane(508)]
    single = [both.detect(one, depth=d) for one, d in zip(images, depths, strict=True)]
    runs.clear()
    batch = both.detect_batch(images, depths=depths)
    assert [one.depth_used for one in batch] == [True, False, None, False, False, False, True]
    for one, other in zip(batch, single, strict=True):
        assert (one.task, one.verdict, one.threshold) == (
            other.task,
            other.verdict,
            other.threshold,
        )
        assert one.score == pytest.approx(other.score, abs=1e-4)
    # Trunk and selector, red by depth, red without, green's head, and the fused graph of blue.
    trunk = workshop.store.manifest().selector.engine.stages[0].graph
    assert len(runs) == 6 and runs.count(trunk) == 1
    given = both.detect_batch(images, task="red", depths=[plane(500), None] * 3 + [None])
    assert [one.depth_used for one in given] == [True, False] * 3 + [False]


def test_a_batch_says_which_frame_lacks_depth_or_has_another(alone, red):
    images = [red] * 20
    depths = [plane(500)] * 20
    with pytest.raises(ImageError, match=f"^image 18: {NEEDS_DEPTH}"):
        alone.detect_batch(images, depths=[*depths[:18], None, depths[0]])
    with pytest.raises(ImageError, match=r"^image 3: the depth lies around 0\.5"):
        alone.detect_batch(images, depths=[*depths[:3], plane(0.5), *depths[4:]])
    with pytest.raises(ImageError, match=r"^image 1: the depth holds negative values"):
        alone.detect_batch([red, red], depths=[plane(500), -plane(500)])
    with pytest.raises(ImageError, match="1 depths were given for 2 images"):
        alone.detect_batch([red, red], depths=[plane(500)])


def test_a_stand_in_shares_the_trunk_and_what_was_open(bundle, workshop, frames, created, runs):
    with Detector.open(bundle, threads=1, watch=False) as detector:
        before = detector.detect(frames["red.bad"][0])
        created.clear()
        given = give_depth(workshop, "red", stand_in=True)
        assert detector.refresh()
        assert created == [given.after.engine.stages[1].graph]
        runs.clear()
        after = detector.detect(frames["red.bad"][0])
        trunk = given.after.engine.stages[0].graph
        assert runs.count(trunk) == 1 and len(runs) == 3
        assert (after.score, after.threshold) == (before.score, before.threshold)
        held = detector._snapshot.held
        assert given.before.engine.tensors in held.tensors
        assert held.verified >= workshop.store.manifest().objects()


def test_garbage_collection_keeps_what_a_stand_in_needs(bundle, workshop, red):
    given = give_depth(workshop, "red", stand_in=True)
    other = given.before.engine
    main = {stage.graph for stage in given.after.engine.stages}
    assert {other.tensors, other.stages[1].graph}.isdisjoint(main)
    workshop.change_task("green", lambda _: workshop.store.manifest().tasks["blue"])
    workshop.store.collect_garbage(keep=1)
    assert workshop.store.verify() == []
    assert workshop.store.object_folder(other.tensors).is_dir()
    with Detector.open(bundle, threads=1, watch=False) as detector:
        assert detector.detect(red, task="red").depth_used is False
    workshop.change_task("red", lambda entry: entry.model_copy(update={"without_depth": None}))
    workshop.store.collect_garbage(keep=1)
    assert not workshop.store.object_folder(other.tensors).exists()
    assert workshop.store.verify() == []


def test_rolling_back_takes_the_stand_in_along(bundle, workshop, frames):
    image = frames["red.bad"][1]
    with Detector.open(bundle, threads=1, watch=False) as detector:
        first = detector.detect(image).score
        give_depth(workshop, "red", stand_in=False)
        second = give_depth_a_stand_in(workshop, "red", "green")
        assert detector.refresh()
        third = detector.detect(image).score
        seen = detector.detect(image, depth=plane(500)).score
        workshop.store.rollback(2)
        assert detector.refresh()
        with pytest.raises(ImageError, match=NEEDS_DEPTH):
            detector.detect(image)
        assert detector.detect(image, depth=plane(500)).score == seen
        workshop.store.rollback(1)
        assert detector.refresh()
        assert detector.detect(image).score == first
        assert detector.detect(image, depth=np.zeros((32, 32), np.float32)).score == first
        workshop.store.rollback(second)
        assert detector.refresh()
        assert detector.detect(image).score == third


def give_depth_a_stand_in(workshop, name: str, other: str) -> int:
    """Let the engine of another task answer frames without depth; return the version."""
    spare = workshop.store.manifest().tasks[other]
    return workshop.change_task(
        name, lambda entry: entry.model_copy(update={"without_depth": spare})
    )


def test_a_damaged_stand_in_is_found_on_opening(bundle, workshop):
    given = give_depth(workshop, "red", stand_in=True)
    path = workshop.store.object_folder(given.before.engine.tensors) / "tensors.safetensors"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"tensors\.safetensors"):
        Detector.open(bundle, threads=1, watch=False)
    assert len(workshop.store.verify()) == 1


def test_a_stand_in_of_several_views_is_not_opened(bundle, workshop):
    other = give_depth(workshop, "red", stand_in=True).before
    several = other.engine.model_copy(update={"views": 3})
    spare = other.model_copy(update={"engine": several})
    workshop.change_task("red", lambda one: one.model_copy(update={"without_depth": spare}))
    with pytest.raises(BundleError, match=r"look at 1 and 3 views of a frame, where all must"):
        Detector.open(bundle, threads=1, watch=False)
