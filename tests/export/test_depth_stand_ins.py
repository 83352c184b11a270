"""`--without-depth`: what answers frames without depth is exported, certified and kept like any."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file, save_file

from cad_edge.cli import main
from cad_edge.data.image import decode_image
from cad_edge.errors import ArtifactError, CertificateError, ImageError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest
from cad_edge_export.exporter import export_artifacts, export_folder
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from tests.export import level_method
from tests.export.level_method import RANGE, Learner
from tests.export.test_incremental import content
from tests.training.small_products import NAMES, quiet

FIRST, SECOND, THIRD = NAMES


@pytest.fixture(autouse=True)
def level(monkeypatch):
    level_method.install(monkeypatch)


@pytest.fixture(scope="module")
def plan(dinov2) -> ExportPlan:
    return ExportPlan(backbone=f"dinov2:{dinov2}")


@pytest.fixture(scope="module")
def places(tiny, plan, tmp_path_factory) -> Path:
    """Artifacts: ``deep`` two tasks with depth and one without, ``flat`` shared weights without.

    And ``bundle``, which holds the first task of ``deep`` alone.
    """
    folder = tmp_path_factory.mktemp("depth")
    learner = Learner(tiny)
    learner.learn(folder / "deep", FIRST, depth=True)
    learner.learn(folder / "deep", SECOND, depth=True)
    learner.learn(folder / "deep", THIRD, depth=False)
    learner.learn(folder / "flat", FIRST, depth=False, shared_weights=1.0)
    learner.learn(folder / "flat", SECOND, depth=False, shared_weights=1.5)
    with pytest.MonkeyPatch.context() as patch:
        level_method.install(patch)
        export_artifacts([folder / "deep" / FIRST], folder / "bundle", plan, quiet)
    return folder


@dataclass
class Place:
    """A bundle and artifacts of its own."""

    folder: Path
    plan: ExportPlan

    def export(self, names, spare=(), kind="flat") -> list[str]:
        """Export tasks of ``deep``, and ``spare`` of another folder as their stand-ins."""
        deep = [self.folder / "deep" / name for name in names]
        flat = [self.folder / kind / name for name in spare]
        return export_artifacts(deep, self.folder / "bundle", self.plan, quiet, flat)

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def manifest(self) -> Manifest:
        return Bundle(self.bundle).manifest()

    def refuses(self, words: str, *given, error=ArtifactError, **more) -> None:
        before = content(self.bundle)
        with pytest.raises(error, match=words) as problem:
            self.export(*given, **more)
        assert "\n" not in str(problem.value)
        assert content(self.bundle) == before


@pytest.fixture
def place(places, plan, tmp_path) -> Place:
    shutil.copytree(places, tmp_path / "place")
    return Place(tmp_path / "place", plan)


@pytest.fixture
def frame(products):
    """A test part of the first product, and depth for it."""
    image = products / FIRST / "test/good/000.png"
    return decode_image(image), np.full((80, 80), 500, np.float32)


def test_a_task_of_the_bundle_gets_a_stand_in_later(place, tiny, frame):
    """By any method: here by CMPMB, whose graph of the first stage is the same."""
    before = content(place.bundle)
    main_entry = place.manifest.tasks[FIRST]
    shutil.copytree(tiny / FIRST, place.folder / "patch_memory" / FIRST)
    assert place.export([FIRST], [FIRST], kind="patch_memory") == []
    entry = place.manifest.tasks[FIRST]
    assert entry.model_copy(update={"without_depth": None}) == main_entry
    other = entry.without_depth
    assert (other.method, other.depth) == ("patch_memory", None)
    assert other.certificate.score_max <= 1e-4 and other.certificate.flips == 0
    assert other.calibration != entry.calibration
    assert other.engine.stages[0].graph == entry.engine.stages[0].graph
    after = content(place.bundle)
    assert {name for name in before if before[name] != after.get(name)} == {"bundle.json"}
    assert Bundle(place.bundle).verify() == []
    image, depth = frame
    with Detector.open(place.bundle) as detector:
        found = detector.detect(image)
        assert (found.task, found.depth_used) == (FIRST, False)
        assert found.threshold == other.decision.threshold
        found = detector.detect(image, depth=depth)
        assert (found.task, found.depth_used) == (FIRST, True)
        assert found.threshold == entry.decision.threshold


def test_selector_and_statistics_stay_those_of_the_task(place):
    before = place.manifest
    place.export([FIRST], [FIRST])
    after = place.manifest
    assert after.selector == before.selector
    entry = after.tasks[FIRST]
    assert entry.without_depth.routing == entry.routing == before.tasks[FIRST].routing
    assert entry.without_depth.radius == entry.radius
    names = {path.name for path in (place.bundle / "objects").iterdir()}
    named = before.objects() | after.objects()
    assert names == named, "an export leaves nothing behind that no version names"


def test_tasks_and_stand_ins_come_in_one_step(place):
    assert place.export([FIRST, SECOND, THIRD], [FIRST, SECOND]) == [SECOND, THIRD]
    manifest = place.manifest
    assert manifest.version == 2
    held = {name: entry.without_depth is not None for name, entry in manifest.tasks.items()}
    assert held == {FIRST: True, SECOND: True, THIRD: False}
    spare = [manifest.tasks[name].without_depth for name in (FIRST, SECOND)]
    assert spare[0].engine.stages == spare[1].engine.stages


def test_what_is_there_stays_without_the_option_and_with_it(place, frame):
    place.export([FIRST], [FIRST])
    spare = place.manifest.tasks[FIRST].without_depth
    assert place.export([FIRST], [FIRST]) == [] and place.manifest.version == 2
    assert place.export([FIRST, SECOND]) == [SECOND]
    entry = place.manifest.tasks[FIRST]
    # A further product moves the covariance, and with it the radius of every other.
    assert entry.without_depth == spare.model_copy(update={"radius": entry.radius})
    assert place.manifest.tasks[SECOND].without_depth is None


def test_sharing_tasks_are_exported_together(place):
    """All stand-ins by the newest model version, each with thresholds and drift of now."""
    place.export([FIRST, SECOND], [FIRST])
    first = place.manifest.tasks[FIRST].without_depth
    assert first.certificate.drift == 0
    place.export([FIRST, SECOND], [FIRST, SECOND])
    tasks = place.manifest.tasks
    grown = tasks[FIRST].without_depth
    assert grown.artifact == first.artifact
    assert grown.engine.tensors == tasks[SECOND].without_depth.engine.tensors
    assert grown.engine.tensors != first.engine.tensors
    scores = [1.5 * score for score in first.calibration.scores]
    np.testing.assert_allclose(grown.calibration.scores, scores, rtol=1e-6)
    assert grown.decision.threshold == pytest.approx(1.5 * first.decision.threshold)
    assert grown.certificate.drift > 0


def test_another_sharing_task_keeps_the_stand_ins(tiny, place):
    learner = Learner(tiny)
    for name, gain in ((FIRST, 1.0), (SECOND, 2.0)):
        learner.learn(place.folder / "grown/deep", name, depth=True, shared_weights=gain)
    shutil.copytree(place.folder / "flat", place.folder / "grown/flat")
    sharing_tasks = Place(place.folder / "grown", place.plan)
    sharing_tasks.export([FIRST], [FIRST])
    before = sharing_tasks.manifest.tasks[FIRST]
    sharing_tasks.export([FIRST, SECOND])
    after = sharing_tasks.manifest.tasks[FIRST]
    assert after.engine != before.engine
    spare = before.without_depth.model_copy(update={"radius": after.radius})
    assert after.without_depth == spare


def test_another_artifact_takes_the_place_of_a_stand_in(place, tiny):
    place.export([FIRST], [FIRST])
    shutil.copytree(tiny / FIRST, place.folder / "patch_memory" / FIRST)
    place.export([FIRST], [FIRST], kind="patch_memory")
    assert place.manifest.tasks[FIRST].without_depth.method == "patch_memory"
    assert place.manifest.version == 3


def test_rolling_back_and_collecting_garbage(place, frame):
    image, depth = frame
    place.export([FIRST], [FIRST])
    with Detector.open(place.bundle, watch=False) as detector:
        said = [detector.detect(image).score, detector.detect(image, depth=depth).score]
        Bundle(place.bundle).rollback()
        assert detector.refresh()
        with pytest.raises(ImageError, match=f"task '{FIRST}' inspects depth as well"):
            detector.detect(image)
        assert detector.detect(image, depth=depth).score == said[1]
        Bundle(place.bundle).rollback(2)
        Bundle(place.bundle).collect_garbage(keep=1)
        assert Bundle(place.bundle).verify() == []
        assert detector.refresh()
        again = [detector.detect(image).score, detector.detect(image, depth=depth).score]
    assert again == said


def test_a_stand_in_is_made_anew_after_rolling_back_and_gets_equal_bytes(place):
    place.export([FIRST], [FIRST])
    first = (place.bundle / "bundle.json").read_bytes()
    Bundle(place.bundle).rollback()
    place.export([FIRST], [FIRST])
    assert (place.bundle / "bundle.json").read_bytes() == first


class TestRefusals:
    def test_it_is_no_task_of_the_bundle(self, place):
        words = f"--without-depth holds the task {SECOND}, which the bundle does not have; export"
        place.refuses(words, [FIRST], [FIRST, SECOND])

    def test_it_looks_at_depth(self, place):
        words = f"the task {FIRST} of --without-depth was learned with depth, too"
        place.refuses(words, [FIRST], [FIRST], kind="deep")

    def test_no_task_looks_at_depth(self, place):
        place.export([FIRST, THIRD])
        words = "no task of --without-depth is one that looks at depth"
        place.refuses(words, [FIRST, THIRD], [THIRD], kind="deep")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                {"backbone": {"id": "efficientnet-lite0", "sha256": "0" * 64}},
                r"was learned on efficientnet-lite0 \(000000000000\), the bundle's on dinov2",
            ),
            (
                {"recipe": {"width": 112, "height": 112}},
                "was learned at 112x112 px, the bundle's at 56x56 px; learn it at that size",
            ),
            ({"views": 2}, "was learned with views: 2, and frames with depth have one"),
        ],
    )
    def test_it_was_learned_otherwise(self, place, change, words):
        path = place.folder / "flat" / FIRST / "artifact.json"
        record = json.loads(path.read_text())
        for key, value in change.items():
            record[key] = {**record[key], **value} if key == "recipe" else value
        del record["sha256"]  # as before there were any
        path.write_text(json.dumps(record))
        place.refuses(f"the task {FIRST} of --without-depth {words}", [FIRST], [FIRST])

    def test_a_sharing_task_is_missing_that_the_bundle_has(self, place):
        place.export([FIRST, SECOND], [FIRST])
        words = f"the bundle's task {FIRST} changes with every task that level learns, and its art"
        place.refuses(words, [FIRST, SECOND], [SECOND])

    def test_it_does_not_answer_as_torch_did(self, place):
        """Of a task alone: its witness is what torch said when it was learned."""
        path = Learner(place.folder / "deep").learn(place.folder / "alone", FIRST, depth=False)
        witness = load_file(path / "witness.safetensors")
        witness["score"] = witness["score"] + np.float32(3)
        save_file(witness, path / "witness.safetensors")
        record = json.loads((path / "artifact.json").read_text())
        del record["sha256"]  # as before there were any
        (path / "artifact.json").write_text(json.dumps(record))
        words = f"task {FIRST}: the exported engine does not answer as torch did"
        place.refuses(words, [SECOND, FIRST], [FIRST], kind="alone", error=CertificateError)

    def test_a_folder_that_holds_no_artifact(self, place):
        for name, words in (("nowhere", "is not a folder of artifacts"), ("bare", "holds no art")):
            (place.folder / "bare").mkdir(exist_ok=True)
            with pytest.raises(ArtifactError, match=f"{name} {words}"):
                spare = place.folder / name
                export_folder(place.folder / "deep", place.bundle, place.plan, quiet, spare)


def run(place, *options):
    arguments = ["export", place.folder / "deep", "--bundle", place.bundle]
    arguments += ["--backbone", place.plan.backbone, *options]
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_the_command_says_which_frames_are_answered(place):
    shutil.rmtree(place.folder / "flat" / SECOND)
    done = run(place, "--without-depth", place.folder / "flat")
    assert done.exit_code == 0, done.output
    said = done.stdout.splitlines()
    assert said[0] == f"added {SECOND}, {THIRD} to {place.bundle}"
    assert said[-1] == f"frames without depth are answered for {FIRST} and refused for {SECOND}"
    flat = Learner(place.folder / "deep").learn(
        place.folder / "flat", SECOND, depth=False, shared_weights=1.5
    )
    assert flat.is_dir()
    done = run(place, "--without-depth", place.folder / "flat")
    said = done.stdout.splitlines()
    assert said[0] == f"{place.bundle} holds all of {place.folder / 'deep'} already"
    assert said[1].startswith(f"{FIRST} without depth: scores moved by at most ")
    assert said[2] == f"frames without depth are answered for {FIRST}, {SECOND}" and len(said) == 3
    assert [one.without_depth.depth for one in place.manifest.tasks.values() if one.depth] == [
        None,
        None,
    ]


def test_the_command_refuses_in_one_sentence_and_writes_nothing(place):
    before = content(place.bundle)
    done = run(place, "--without-depth", place.folder / "deep")
    assert done.exit_code == 1 and content(place.bundle) == before
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert errors == [done.stderr.splitlines()[-1]] and "was learned with depth, too" in errors[0]


def test_detect_on_files_with_and_without_depth(place, products, tmp_path):
    """From the command line to what answered."""
    place.export([FIRST], [FIRST])
    (tmp_path / "depth").mkdir()
    folder = products / FIRST / "test/good"
    Image.fromarray(np.full((80, 80), 500, np.uint16)).save(tmp_path / "depth/000.png")
    call = ["detect", place.bundle, folder, "--depth", tmp_path / "depth"]
    done = CliRunner().invoke(main, [str(one) for one in call])
    assert done.exit_code == 0, done.output
    used = [json.loads(line)["depth_used"] for line in done.stdout.splitlines()]
    assert used == [True, False, False]
    assert place.manifest.tasks[FIRST].depth == RANGE
