"""The choice of a method: figures of held-out parts against hand-worked ones, and the rule."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from cad_edge.data.dataset import read_product
from cad_edge.data.grouping import GroupRule
from cad_edge.data.image import decode_image
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import Stream, StreamTask, read_stream
from cad_edge_benchmarks.advise.accuracy import draw_weights, drawn_found
from cad_edge_benchmarks.advise.held_out_parts import KINDS
from cad_edge_benchmarks.advise.method_choice import choose
from cad_edge_benchmarks.advise.method_comparison import commands, hold_out, write_streams
from cad_edge_benchmarks.advise.method_evidence import HeldOutParts, figures
from cad_edge_benchmarks.advise.validation_split import SplitImage
from cad_edge_benchmarks.instruments.verdicts import Outcome, judge_verdicts
from cad_edge_training.method import Suitability
from tests.training.small_products import texture, write_product


def parts(count: int, rate: float = 0.1) -> HeldOutParts:
    """``count`` held-out parts, each with a local and a structural copy."""
    images = []
    for number in range(count):
        good = LabelledImage(Path(f"{number}.png"))
        images.append(SplitImage(good, str(number)))
        images += [SplitImage(LabelledImage(good.path, kind), str(number)) for kind in KINDS]
    return HeldOutParts(StreamTask(name="plate", path=Path()), 8, tuple(images), rate, "0" * 64)


def judged(good, local, structural, suitability=None, rate=0.1):
    """Evidence of a method that gives parts and their copies these scores."""
    scores = np.stack([good, local, structural], axis=1).ravel().astype(np.float64)
    return figures(parts(len(good), rate), scores, seed=0, suitability=suitability)


def test_defects_are_counted_at_the_stated_rate_kind_by_kind():
    """One of ten parts may be rejected, so the threshold is 8; 9 is lost, 8 itself not rejected."""
    good = np.arange(10)
    local = np.array([8, 8, 8, 8.5, 9, 10, 11, 12, 13, 14])
    found = judged(good, local, structural=good + 0.5)
    assert found.found == {"local": pytest.approx(0.7), "structural": pytest.approx(0.2)}
    assert found.mean_found == pytest.approx(0.45)
    assert found.auroc["structural"] == pytest.approx(sum(range(1, 11)) / 100)
    assert found.mean_auroc == pytest.approx(np.mean(list(found.auroc.values())))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.29, 0.5])
def test_the_threshold_is_that_of_evaluate(rate, rng):
    """With ties and refused frames, against the verdicts' perfect threshold."""
    scores = np.concatenate([rng.integers(0, 9, 60).astype(float), [np.inf, np.inf]])
    bad = rng.random(62) < 0.5
    outcomes = [Outcome(bool(b), True, "normal", s) for b, s in zip(bad, scores, strict=True)]
    once = np.ones((1, 62), dtype=np.int64)
    expected = judge_verdicts(outcomes, rate).detection_rate_perfect
    assert drawn_found(scores, bad, once, rate)[0] == pytest.approx(expected)


def test_a_draw_counts_its_images_as_often_as_it_drew_them(rng):
    scores, bad = rng.normal(size=30), np.arange(30) >= 12
    for weights in draw_weights([str(n) for n in range(30)], bad, seed=1, draws=20):
        again = np.repeat(np.arange(30), weights)
        once = np.ones((1, len(again)), dtype=np.int64)
        whole = drawn_found(scores[again], bad[again], once, 0.2)
        assert drawn_found(scores, bad, weights[None], 0.2) == pytest.approx(whole)


NOISE = np.random.default_rng(3).normal(size=(3, 40))
GOOD = NOISE[0]
STRONG = judged(GOOD, GOOD + 4, GOOD + 4)
WEAK = judged(GOOD, NOISE[1] + 1, NOISE[2] + 1)


def test_what_finds_more_is_taken_wherever_it_is_named():
    for evidence in ({"a": STRONG, "b": WEAK}, {"b": WEAK, "a": STRONG}):
        chosen = choose(evidence)
        assert chosen.method == "a"
        assert (
            "a has the higher defects found, " in chosen.reason and " of b (diff" in chosen.reason
        )


def test_ties_go_to_the_one_named_first():
    twin = judged(GOOD, GOOD + 4 + 1e-9, GOOD + 4)
    assert choose({"a": STRONG, "b": twin}).method == "a"
    chosen = choose({"b": twin, "a": STRONG})
    assert chosen.method == "b"
    assert "b comes first, and a is within the standard error" in chosen.reason


def test_equal_finds_are_told_apart_by_auroc():
    """No defect lies above the threshold of either, and one ranks them all above most parts."""
    good = np.append(np.zeros(19), 100.0)
    near, far = (judged(good, good * 0 + level, good * 0 + level, rate=0.01) for level in (5, -5))
    assert near.mean_found == far.mean_found == 0
    chosen = choose({"far": far, "near": near})
    assert chosen.method == "near" and "near has the higher AUROC, 0.950" in chosen.reason


def test_a_method_that_says_it_does_not_suit_is_left_out():
    said = Suitability(0.16, 0.3, "its global expert explains too little of new parts")
    doubted = judged(GOOD, GOOD + 4, GOOD + 4, said)
    chosen = choose({"a": doubted, "b": WEAK})
    assert chosen.method == "b"
    assert "a is left out: its global expert explains too little of new parts" in chosen.reason
    assert "(0.16, at least 0.3)" in chosen.reason
    sure = judged(GOOD, GOOD + 4, GOOD + 4, Suitability(0.3, 0.3, "enough"))
    assert choose({"b": WEAK, "a": sure}).method == "a"
    undefined = judged(GOOD, GOOD + 4, GOOD + 4, Suitability(float("nan"), 0.3, "no variance"))
    assert choose({"a": undefined, "b": WEAK}).method == "b"
    assert choose({"a": doubted, "c": undefined}).method == "a"


def test_three_methods():
    twin = judged(GOOD, GOOD + 4 + 1e-9, GOOD + 4)
    assert choose({"weak": WEAK, "twin": twin, "strong": STRONG}).method == "twin"


def test_no_test_image_has_a_say(tmp_path):
    product = write_product(tmp_path, "checks", good=12, test=2)
    task = StreamTask(name="checks", path=product)
    first = hold_out(task, 0.1, 0, tmp_path / "one")
    for image in (product / "test").rglob("*.png"):
        image.unlink()
    again = hold_out(task, 0.1, 0, tmp_path / "two")
    assert [one.origin for one in first.images] == [one.origin for one in again.images]
    for one, other in zip(first.images, again.images, strict=True):
        assert np.array_equal(decode_image(one.image.path), decode_image(other.image.path))


def test_parts_are_learned_or_held_out_with_defects_of_both_groups(tmp_path):
    task = StreamTask(name="waves", path=write_product(tmp_path, "waves", good=12))
    found = hold_out(task, 0.1, 0, tmp_path / "place")
    learned = {path.name for path in read_product(found.task.path).train}
    held = {one.origin for one in found.images}
    assert (found.learned, len(learned), len(held)) == (8, 8, 4) and not learned & held
    assert found.good.sum() == 4
    for kind in KINDS:
        assert (found.of_kind(kind) & ~found.good).sum() == 4 * 3
    for one in found.images:
        original = decode_image(task.path / "train/good" / one.origin)
        assert (decode_image(one.image.path) != original).any() == one.image.anomalous


def test_groups_are_held_out_whole_and_stay_groups(tmp_path):
    from PIL import Image

    rng, folder = np.random.default_rng(0), tmp_path / "waves/train/good"
    folder.mkdir(parents=True)
    for number in range(24):
        name = folder / f"photo{number // 4}_{number}.png"
        Image.fromarray(texture("waves", rng)).save(name)
    rule = GroupRule(pattern=r"photo(\d+)")
    task = StreamTask(name="waves", path=tmp_path / "waves", group=rule)
    found = hold_out(task, 0.1, 0, tmp_path / "place")
    held = {one.origin.partition("_")[0] for one in found.images}
    product = found.task.images()
    learned = [path.name.partition("_")[0] for path in product.train]
    assert held and not held & set(learned)
    groups = found.task.groups(product)
    assert groups is not None and len(set(zip(groups, learned, strict=True))) == len(set(learned))


def test_every_method_gets_its_products_and_one_bundle_is_exported(tmp_path):
    names = ("a", "b", "c")
    for name in names:
        (tmp_path / name).mkdir()
    tasks = [StreamTask(name=name, path=tmp_path / name) for name in names]
    steps = [["a", "b"], ["c"]]
    stream = Stream(name="line", false_reject_rate=0.02, tasks=tasks, steps=steps)
    taken = {"a": "padim", "b": "patch_memory", "c": "padim"}
    files = write_streams(stream, taken, tmp_path / "streams")
    assert list(files) == ["padim", "patch_memory"]
    padim = read_stream(files["padim"])
    assert [task.name for task in padim.tasks] == ["a", "c"]
    assert (padim.steps, padim.false_reject_rate) == ([["a"], ["c"]], 0.02)
    said = commands(files, "efficientnet-lite0", 3)
    assert said == [
        f"cad-edge train --stream {files['padim']} --out artifacts --method padim --seed 3",
        f"cad-edge train --stream {files['patch_memory']} --out artifacts --method patch_memory "
        "--seed 3",
        "cad-edge export artifacts --bundle bundle",
    ]
