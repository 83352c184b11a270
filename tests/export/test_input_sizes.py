"""Products at two input sizes in one bundle: learned, exported, recognised, inspected, refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.image import ImageRecipe
from cad_edge.data.stream import read_stream
from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from cad_edge_training.input_size import AUTO
from cad_edge_training.train import TrainingPlan, train
from tests.house.refusals import content, run, sentence
from tests.training.small_products import LITE0, SMALL, quiet

SIDE = 336  # pixels of an image on the disk
SIZES = {"smooth": 224, "fine": 288}


def part(name: str, rng: np.random.Generator) -> np.ndarray:
    """One good part: long waves, or stripes of single columns, (336, 336, 3) uint8."""
    rows, columns = np.indices((SIDE, SIDE))
    if name == "fine":
        pattern = np.where(columns % 2, 60, -60) * np.sign(np.sin(rows * 0.1 + rng.uniform(0, 3)))
        tint = (-20, 10, 30)
    else:
        pattern = 40 * np.sin((rows + columns) * 0.03 + rng.uniform(0, 6))
        tint = (40, 0, -30)
    noise = rng.normal(0, 2, (SIDE, SIDE, 3))
    return np.clip(120 + pattern[..., None] + np.array(tint) + noise, 0, 255).astype(np.uint8)


def spoil(image: np.ndarray) -> np.ndarray:
    """Put a bright blot into rows 140 to 188 and columns 200 to 248 of a copy."""
    spoiled = image.copy()
    spoiled[140:188, 200:248] = (250, 240, 60)
    return spoiled


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> Path:
    """Folder of a stream of both products, ten good parts each."""
    folder, rng = tmp_path_factory.mktemp("line"), np.random.default_rng(11)
    for name in SIZES:
        for place, change in (
            ("train/good", np.copy),
            ("test/good", np.copy),
            ("test/blot", spoil),
        ):
            (folder / name / place).mkdir(parents=True)
            for number in range(10 if place == "train/good" else 2):
                target = folder / name / place / f"{number}.png"
                Image.fromarray(change(part(name, rng))).save(target)
    tasks = [{"name": name, "path": name} for name in SIZES]
    record = {"name": "line", "false_reject_rate": 0.1, "tasks": tasks}
    (folder / "stream.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def artifacts(products, tmp_path_factory) -> Path:
    """Both, each at the size that was chosen for it."""
    out, said = tmp_path_factory.mktemp("learned"), []
    plan = TrainingPlan("patch_memory", LITE0, AUTO, SMALL, 0)
    train(read_stream(products / "stream.json"), out, plan, lambda name: quiet, said.append)
    sizes = [line.partition(" px")[0] for line in said if "learned from" not in line]
    assert sizes == ["smooth: 224", "fine: 288"]
    return out


def export(artifacts: Path, bundle: Path, names=tuple(SIZES), **plan) -> Path:
    export_artifacts([artifacts / name for name in names], bundle, ExportPlan(**plan), quiet)
    return bundle


@pytest.fixture(scope="module")
def alone(artifacts, tmp_path_factory) -> Path:
    """The larger one in a bundle of its own."""
    return export(artifacts, tmp_path_factory.mktemp("bundles") / "alone", ["fine"])


@pytest.fixture(scope="module")
def bundle(artifacts, alone, tmp_path_factory) -> Path:
    """Both in the shared layout, the second added to a bundle of the first."""
    place = Path(shutil.copytree(alone, tmp_path_factory.mktemp("bundles") / "two"))
    return export(artifacts, place)


def test_selector_has_the_backbones_size_from_the_first_product_on(alone):
    manifest = Bundle(alone).manifest()
    assert manifest.selector.engine.recipe == ImageRecipe(width=224, height=224)
    assert manifest.tasks["fine"].engine.recipe == ImageRecipe(width=288, height=288)


def test_each_engine_has_its_size_and_the_selector_the_backbones(bundle):
    manifest = Bundle(bundle).manifest()
    found = {name: entry.engine.recipe.width for name, entry in manifest.tasks.items()}
    assert found == SIZES and manifest.selector.engine.recipe.width == 224
    entries = {name: entry.engine.stages[0].graph for name, entry in manifest.tasks.items()}
    routed = manifest.selector.engine.stages[0].graph
    assert entries["smooth"] == routed != entries["fine"]
    assert all(entry.certificate.flips == 0 for entry in manifest.tasks.values())
    assert all(entry.certificate.score_max <= 1e-4 for entry in manifest.tasks.values())


@pytest.mark.parametrize(
    ("layout", "precision", "selector"),
    [("fused", "fp32", "discriminant"), ("shared", "fp16", "key_set")],
)
def test_other_layouts_and_precisions(artifacts, tmp_path, layout, precision, selector):
    plan = {"layout": layout, "precision": precision, "selector": selector}
    place = export(artifacts, tmp_path / "bundle", **plan)
    judge(place)


def test_frames_find_their_product_and_their_defects(bundle):
    judge(bundle)


def judge(bundle: Path) -> None:
    """Good parts are recognised, one by one and in a batch, and the blots of others found."""
    rng = np.random.default_rng(5)
    names = ["smooth", "fine", "fine", "smooth"]
    frames = [part(name, rng) for name in names]
    with Detector.open(bundle, device="cpu", threads=1, watch=False) as detector:
        every = [detector.detect(frame) for frame in frames]
        assert [one.task for one in every] == names
        for one, other in zip(every, detector.detect_batch(frames), strict=True):
            assert (one.task, one.verdict) == (other.task, other.verdict)
            assert one.score == pytest.approx(other.score, rel=1e-2, abs=1e-2)
        for frame, one in zip(frames, every, strict=True):
            assert one.size == (SIDE, SIDE) and one.anomaly_map.shape == (SIZES[one.task],) * 2
            given = detector.detect(frame, task=one.task)
            assert given.score == one.score and given.nearest is None
            assert given.anomaly_map.tobytes() == one.anomaly_map.tobytes()
            found = detector.detect(spoil(frame), task=one.task)
            assert found.verdict == "anomalous" and found.score > one.score
            left, top, right, bottom = max(found.defects, key=lambda each: each.peak).box
            assert left < 224 < right <= SIDE and top < 164 < bottom <= SIDE


def test_second_size_is_picked_up_and_rolled_back(alone, bundle, tmp_path):
    """The older version's folder becomes the newer one by copying objects, then the pointer."""
    place = Path(shutil.copytree(alone, tmp_path / "bundle"))
    other, frame = (part(name, np.random.default_rng(6)) for name in SIZES)
    with Detector.open(place, device="cpu", threads=1, watch=False) as detector:
        before = detector.detect(frame, task="fine")
        for folder in ("objects", "manifests"):
            shutil.copytree(bundle / folder, place / folder, dirs_exist_ok=True)
        shutil.copy(bundle / "bundle.json", place / "bundle.json")
        assert detector.refresh() and detector.detect(other).task == "smooth"
        after = detector.detect(frame, task="fine")
        assert after.score == before.score
        assert after.anomaly_map.tobytes() == before.anomaly_map.tobytes()
        assert run("rollback", place).exit_code == 0
        assert detector.refresh() and detector.tasks() == ("fine",)
        assert detector.detect(frame, task="fine").score == before.score


def test_verified_and_measured(bundle, products):
    """The commands of a device and of a workstation on a bundle of two sizes."""
    assert run("verify", bundle).exit_code == 0
    done = run("evaluate", bundle, "--stream", products / "stream.json")
    assert done.exit_code == 0, done.output


def test_eight_bits_are_refused_before_anything_is_written(artifacts, products, tmp_path):
    shutil.copytree(artifacts, tmp_path / "artifacts")
    before = content(tmp_path)
    said = sentence(
        *("export", tmp_path / "artifacts", "--bundle", tmp_path / "bundle"),
        *("--precision", "uint8", "--calibration", products / "stream.json"),
    )
    assert (
        "fine was learned at 288 px and is recognised at 224 px, and uint8 is measured at" in said
    )
    assert {name for name in content(tmp_path) if not name.startswith("bundle")} == set(before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "nonsense"], "'nonsense' is neither auto nor a number of pixels from 64 to"),
        (["--size", "63"], "'63' is neither auto nor a number of pixels"),
        (["--size", "-224"], "'-224' is neither auto nor a number of pixels"),
        (["--size", "224.5"], "'224.5' is neither auto nor a number of pixels"),
        (
            ["--size", "auto", "--budget-ms", "0.001"],
            "no input size keeps --budget-ms 0.001: at 224",
        ),
        (["--size", "auto", "--budget-ms", "0"], "--budget-ms"),
        (["--budget-ms", "20"], "--budget-ms chooses among the input sizes of --size auto"),
        (["--size", "224", "--budget-ms", "20"], "--budget-ms chooses among the input sizes of"),
        (["--size", "auto", "--method", "ib_iumad"], "the products of ib_iumad share one network"),
        (
            ["--size", "auto", "--method", "cl_anomaly", "--backbone", "llava-small"],
            "the products of cl_anomaly share one network",
        ),
    ],
)
def test_bad_input_to_train(products, tmp_path, options, said):
    words = sentence(
        "train", "--stream", products / "stream.json", "--out", tmp_path / "out", *options
    )
    assert said in words
    assert content(tmp_path) == {}


def test_command_says_what_it_chose(products, tmp_path):
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    done = run(
        *("train", "--stream", products / "stream.json", "--out", tmp_path / "out"),
        *("--size", "auto", "--budget-ms", 1e6, "--method", "patch_memory", *settings),
    )
    assert done.exit_code == 0, done.output
    assert "fine: 288 px, since 224 px loses " in done.stdout
    assert "smooth: 224 px, which loses " in done.stdout
