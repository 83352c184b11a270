"""CDAD from parts to verdicts: one graph and one noise for all products, model versions."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cad_edge.calibration import decide
from cad_edge.cli import main
from cad_edge.store.artifact import read_artifact, with_sharing_tasks
from cad_edge.store.bundle import Bundle
from cad_edge_export.certificate import reference_model
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.learn import recalibrate
from tests.export.cdad_samples import OPTIONS
from tests.training.small_products import LITE0, NAMES, learn, quiet, spoil, stream_of, texture

FIRST, SECOND, THIRD = NAMES

Frames = list[tuple[np.ndarray, str]]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(LITE0, 64)


@pytest.fixture(scope="module")
def artifacts(products, tmp_path_factory) -> Path:
    """Three products, one after the other, by a sampler of two steps."""
    out = tmp_path_factory.mktemp("cdad")
    learn(stream_of(products, NAMES), out, OPTIONS, method="cdad")
    return out


@pytest.fixture(scope="module")
def many_steps(products, tmp_path_factory) -> Path:
    """Two products by a sampler of six."""
    out = tmp_path_factory.mktemp("cdad-six")
    learn(stream_of(products, NAMES[:2]), out, OPTIONS | {"steps": "6"}, method="cdad")
    return out


def export(artifacts: Path, count: int, bundle: Path, plan: ExportPlan | None = None) -> list[str]:
    """Export the first ``count`` products as if no other had been learned."""
    found = [artifacts / name for name in NAMES[:count]]
    return export_artifacts(found, bundle, plan or ExportPlan(), quiet)


@pytest.fixture(scope="module")
def older(artifacts, tmp_path_factory) -> Path:
    """The first two products."""
    place = tmp_path_factory.mktemp("older") / "line"
    assert export(artifacts, 2, place) == [FIRST, SECOND]
    return place


@pytest.fixture(scope="module")
def bundle(artifacts, older, tmp_path_factory) -> Path:
    """All three, on top of the version of two."""
    place = Path(shutil.copytree(older, tmp_path_factory.mktemp("bundle") / "line"))
    assert export(artifacts, 3, place) == [THIRD]
    return place


@pytest.fixture(scope="module")
def chained(many_steps, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("chained") / "line"
    assert export(many_steps, 2, place) == [FIRST, SECOND]
    return place


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Good parts of two products, and one with a blot."""
    rng = np.random.default_rng(3)
    shown = [(texture(name, rng), name) for name in (FIRST, SECOND) for _ in range(2)]
    return [*shown, (spoil(texture(FIRST, rng)), FIRST)]


def scores(bundle: Path, frames: Frames) -> list[float]:
    with Detector.open(bundle) as detector:
        return [detector.detect(image, task=name).score for image, name in frames]


def objects(bundle: Path) -> set[str]:
    return {one.name for one in (bundle / "objects").iterdir()}


def assert_answers_as_torch(bundle: Path, artifacts: Path, count: int, frames: Frames) -> None:
    tasks = with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES[:count]])
    backbone = load_backbone(LITE0, 64)
    models = {task.artifact.task: reference_model(task, backbone) for task in tasks}
    with Detector.open(bundle) as detector:
        for image, name in frames:
            found = detector.detect(image, task=name)
            with torch.inference_mode():
                score, located = models[name](torch.from_numpy(backbone.recipe.apply(image))[None])
            assert found.score == pytest.approx(float(score), rel=1e-4)
            np.testing.assert_allclose(found.anomaly_map, located[0].numpy(), rtol=1e-3)


class TestOneGraph:
    def test_detector_answers_as_torch(self, bundle, artifacts, frames):
        assert_answers_as_torch(bundle, artifacts, 3, frames)

    def test_certificates_hold(self, bundle):
        for entry in Bundle(bundle).manifest().tasks.values():
            found = entry.certificate
            assert found.flips == 0 and found.score_max < 1e-4
            assert found.map_max is not None and found.map_max < 1e-4

    def test_recognised_and_given_products_get_one_answer(self, bundle, frames):
        image, name = frames[0]
        with Detector.open(bundle) as detector:
            routed, given = detector.detect(image), detector.detect(image, task=name)
        assert routed.task == name
        assert routed.score == given.score

    def test_equal_frames_give_equal_bytes(self, bundle, frames):
        image, name = frames[-1]
        with Detector.open(bundle) as detector:
            first, again = (detector.detect(image, task=name) for _ in range(2))
        assert first.score == again.score
        assert first.anomaly_map.tobytes() == again.anomaly_map.tobytes()

    def test_products_share_every_graph_and_tensor(self, bundle):
        manifest = Bundle(bundle).manifest()
        engines = [entry.engine for entry in manifest.tasks.values()]
        assert len(engines) == 3
        assert len({one.tensors for one in engines}) == 1
        chains = {tuple(stage.graph for stage in one.stages) for one in engines}
        assert len(chains) == 1 and len(next(iter(chains))) == 2
        assert manifest.selector.engine.stages[0] == engines[0].stages[0]

    def test_a_further_product_adds_no_tensor_and_no_graph_but_the_version(self, older, bundle):
        """What it adds are its routing statistics, the selector that knows it and one network."""
        before, after = (Bundle(one).manifest() for one in (older, bundle))
        added = objects(bundle) - objects(older)
        selector = after.selector.engine
        routing = {after.tasks[THIRD].routing, selector.tensors}
        routing |= {stage.graph for stage in selector.stages}
        network = after.tasks[THIRD].engine.stages[1].graph
        assert network in added and added - routing == {network}
        assert after.tasks[THIRD].engine.tensors == before.tasks[FIRST].engine.tensors
        assert before.tasks[FIRST].engine.stages[1].graph != network

    def test_rolling_back_gives_the_scores_of_before(self, older, bundle, frames, tmp_path):
        """Bit for bit, by one command, and what was before comes back as well."""
        place = Path(shutil.copytree(bundle, tmp_path / "line"))
        newest = scores(place, frames)
        done = CliRunner().invoke(main, ["rollback", str(place), "--to", "1"])
        assert done.exit_code == 0, done.output
        assert scores(place, frames) == scores(older, frames) != newest
        assert CliRunner().invoke(main, ["rollback", str(place), "--to", "2"]).exit_code == 0
        assert scores(place, frames) == newest

    def test_older_products_answer_by_a_threshold_made_anew(self, artifacts, bundle, frames):
        tasks = with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES])
        learned = tasks[0].artifact
        entry = Bundle(bundle).manifest().tasks[FIRST]
        config = Config.model_validate(learned.hyperparameters)
        expected = recalibrate(load_backbone(LITE0, 64), config, tasks[0])
        assert entry.calibration == expected != learned.calibration
        assert entry.certificate.drift is not None and entry.certificate.drift > 0
        image, name = frames[0]
        with Detector.open(bundle) as detector:
            found = detector.detect(image, task=name)
        assert found.threshold == decide(expected, learned.false_reject_rate).threshold
        assert found.threshold != decide(learned.calibration, learned.false_reject_rate).threshold


class TestChain:
    def test_detector_answers_as_torch(self, chained, many_steps, frames):
        assert_answers_as_torch(chained, many_steps, 2, frames)

    def test_one_graph_is_run_for_every_step(self, chained):
        engine = Bundle(chained).manifest().tasks[FIRST].engine
        graphs = [stage.graph for stage in engine.stages]
        assert len(graphs) == 2 + 6 + 1
        assert len({*graphs[2:8]}) == 1 and len({*graphs}) == 4
        bound = [tuple(sorted(stage.inputs.items())) for stage in engine.stages[2:8]]
        assert len({*bound}) == 6

    def test_products_share_every_graph_and_tensor(self, chained):
        engines = [entry.engine for entry in Bundle(chained).manifest().tasks.values()]
        assert len(engines) == 2 and engines[0].tensors == engines[1].tensors
        assert engines[0].stages == engines[1].stages

    def test_a_batch_is_its_frames_one_by_one(self, chained, frames):
        images = [image for image, name in frames if name == FIRST]
        with Detector.open(chained) as detector:
            together = detector.detect_batch(images, task=FIRST)
            alone = [detector.detect(image, task=FIRST) for image in images]
        for one, other in zip(together, alone, strict=True):
            assert one.score == pytest.approx(other.score, rel=1e-6)


def test_a_self_contained_graph_serves_all_products(artifacts, older, frames, tmp_path):
    place = tmp_path / "line"
    export(artifacts, 2, place, ExportPlan("fused"))
    engines = [entry.engine for entry in Bundle(place).manifest().tasks.values()]
    assert len({stage.graph for one in engines for stage in one.stages}) == 1
    assert all(one.tensors is None and len(one.stages) == 1 for one in engines)
    np.testing.assert_allclose(scores(place, frames), scores(older, frames), rtol=1e-5)
