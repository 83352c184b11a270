"""The published form of CDAD from parts to verdicts, on a small pipeline of all its classes."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from cad_edge.cli import main
from cad_edge.store.artifact import LearnedTask, read_artifact, with_sharing_tasks
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine
from cad_edge_export.certificate import reference_model
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.fusions.cdad.stable_diffusion.unet import FastTextUNet, text_step_biases
from cad_edge_export.graph_files import GRAPH
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from cad_edge_runtime.operators import RULES
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.stable_diffusion.base import StableDiffusion
from cad_edge_training.methods.cdad.learn import recalibrate
from cad_edge_training.methods.cdad.model import CDAD
from tests.training.small_products import NAMES, quiet, spoil, stream_of, texture, write_product
from tests.training.small_stable_diffusion import learn, options
from tests.training.tiny_stable_diffusion import SIDE, save_stable_diffusion

FIRST, SECOND, _ = NAMES
STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_stable_diffusion(tmp_path_factory.mktemp("sd") / "tiny")


@pytest.fixture(scope="module")
def backbone(folder) -> StableDiffusion:
    return load_backbone(f"sd:{folder}", SIDE)


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> Path:
    """Good parts of two products."""
    place = tmp_path_factory.mktemp("line")
    for name in (FIRST, SECOND):
        write_product(place, name, good=8)
    return place


@pytest.fixture(scope="module")
def artifacts(line, folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("artifacts")
    learn(stream_of(line, (FIRST, SECOND)), out, folder)
    return out


@pytest.fixture(scope="module")
def plan(folder) -> ExportPlan:
    return ExportPlan(backbone=f"sd:{folder}")


@pytest.fixture(scope="module")
def older(artifacts, plan, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("older") / "bundle"
    assert export_artifacts([artifacts / FIRST], place, plan, quiet) == [FIRST]
    return place


@pytest.fixture(scope="module")
def bundle(artifacts, older, plan, tmp_path_factory) -> Path:
    """Both products, on top of the version of the first."""
    place = Path(shutil.copytree(older, tmp_path_factory.mktemp("newer") / "bundle"))
    both = [artifacts / FIRST, artifacts / SECOND]
    assert export_artifacts(both, place, plan, quiet) == [SECOND]
    return place


@pytest.fixture(scope="module")
def tasks(artifacts) -> list[LearnedTask]:
    return list(with_sharing_tasks([read_artifact(artifacts / one) for one in (FIRST, SECOND)]))


@pytest.fixture(scope="module")
def model(tasks, backbone) -> CDAD:
    found = reference_model(tasks[1], backbone)
    assert isinstance(found, CDAD)
    return found


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Two good parts of the first product, and one with a blot."""
    rng = np.random.default_rng(3)
    good = [texture(FIRST, rng) for _ in range(2)]
    return [*good, spoil(good[0])]


def engine_of(bundle: Path, name: str = FIRST) -> Engine:
    return Bundle(bundle).manifest().tasks[name].engine


def models(bundle: Path) -> list[onnx.ModelProto]:
    """Graphs of the first product's engine, stage by stage."""
    read = Bundle(bundle).read_object
    return [onnx.load_from_string(read(one.graph)[GRAPH]) for one in engine_of(bundle).stages]


def scores(bundle: Path, frames: list[np.ndarray]) -> list[float]:
    with Detector.open(bundle) as detector:
        return [detector.detect(one, task=FIRST).score for one in frames]


class TestEngine:
    def test_it_answers_as_torch(self, bundle, model, backbone, frames):
        with Detector.open(bundle) as detector:
            for image in frames:
                found = detector.detect(image, task=FIRST)
                with torch.inference_mode():
                    shown = torch.from_numpy(backbone.recipe.apply(image))[None]
                    score, located = model(shown)
                assert found.score == pytest.approx(float(score), rel=1e-4)
                np.testing.assert_allclose(found.anomaly_map, located[0].numpy(), rtol=1e-3)

    def test_certificates_hold(self, bundle):
        for entry in Bundle(bundle).manifest().tasks.values():
            found = entry.certificate
            assert found.flips == 0 and found.score_max < 1e-4
            assert found.map_max is not None and found.map_max < 1e-4

    def test_equal_frames_give_equal_bytes(self, bundle, frames):
        with Detector.open(bundle) as detector:
            first, again = (detector.detect(frames[-1], task=FIRST) for _ in range(2))
        assert first.score == again.score
        assert first.anomaly_map.tobytes() == again.anomaly_map.tobytes()

    def test_a_batch_is_its_frames_one_by_one(self, bundle, frames):
        with Detector.open(bundle) as detector:
            together = detector.detect_batch(frames, task=FIRST)
        one_by_one = scores(bundle, frames)
        assert [one.score for one in together] == pytest.approx(one_by_one, rel=1e-5)

    def test_a_product_is_recognised(self, bundle, frames):
        with Detector.open(bundle) as detector:
            assert detector.detect(frames[0]).task == FIRST

    def test_rolling_back_gives_the_scores_of_before(self, older, bundle, frames, tmp_path):
        place = Path(shutil.copytree(bundle, tmp_path / "bundle"))
        newest = scores(place, frames)
        done = CliRunner().invoke(main, ["rollback", str(place), "--to", "1"])
        assert done.exit_code == 0, done.output
        assert scores(place, frames) == scores(older, frames) != newest

    def test_older_products_answer_by_a_threshold_made_anew(self, bundle, tasks, backbone):
        entry = Bundle(bundle).manifest().tasks[FIRST]
        assert entry.calibration == recalibrate(backbone, options(), tasks[0])
        assert entry.calibration != tasks[0].artifact.calibration


class TestGraphs:
    def test_one_graph_is_run_for_every_step(self, bundle):
        engine = engine_of(bundle)
        graphs = [stage.graph for stage in engine.stages]
        assert len(graphs) == 2 + STEPS + 1
        assert len({*graphs[2 : 2 + STEPS]}) == 1 and len({*graphs}) == 4
        assert engine.stages == engine_of(bundle, SECOND).stages
        assert engine.tensors == engine_of(bundle, SECOND).tensors

    def test_operators_are_those_that_the_device_allows(self, bundle):
        kinds = {node.op_type for one in models(bundle) for node in one.graph.node}
        assert kinds <= RULES.keys()
        assert not kinds & {"If", "Loop", "Shape", "Sin", "Cos", "Resize", "Expand"}

    def test_condition_and_decoder_run_once_a_frame(self, bundle):
        """The condition's first convolution sees three colours, the decoder's last makes three."""
        shapes = [[tuple(one.dims) for one in model.graph.initializer] for model in models(bundle)]
        assert [stage.count((16, 3, 3, 3)) for stage in shapes] == [0, 1, *[0] * STEPS, 0]
        assert [stage.count((3, 8, 3, 3)) for stage in shapes] == [0, 0, *[0] * STEPS, 1]

    def test_neither_time_nor_text_is_computed(self, bundle, tasks):
        """Weights that see them are in no graph; other matrices of the U-Net are, each once."""
        unet = {
            name.removeprefix("network/unet.model."): value
            for name, value in tasks[1].model_tensors().items()
            if name.startswith("network/unet.model.") and value.ndim > 1
        }
        graph = Bundle(bundle).read_object(engine_of(bundle).stages[2].graph)[GRAPH]
        away = ("time_emb", "attn2.to_k", "attn2.to_v", "attn1.to_q", "attn1.to_k", "attn1.to_v")
        for name, value in unet.items():
            found = max(graph.count(one.tobytes()) for one in (value, value.T))
            assert found == (not any(one in name for one in away)), name

    def test_the_fast_unet_is_the_unet(self, model):
        unet, plan = model.network.unet, model.sampling
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 4, 8, 8, generator=generator)
        added = torch.randn(2, 32, 8, 8, generator=generator)
        fast, tables = FastTextUNet(unet), text_step_biases(unet, plan)
        assert len(tables) == STEPS
        with torch.no_grad():
            for step, biases in zip(plan.steps[:2], tables, strict=False):
                expected = unet(x, unet.time_biases(torch.tensor([step.time])), added)
                torch.testing.assert_close(fast(x, biases, added), expected, rtol=1e-4, atol=1e-5)
        assert unet.model.down_blocks[0].resnets[0].conv1.bias is not None


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "precision"), [("shared", "fp16"), ("fused", "fp32")])
def test_few_steps_in_other_forms(line, folder, layout, precision, tmp_path):
    """Two steps are written out in one graph."""
    few = {"steps": "2", "start": "matched", "first_time": "501", "updates": "1"}
    learn(stream_of(line, (FIRST,)), tmp_path / "learned", folder, **few)
    plan = ExportPlan(layout, precision, backbone=f"sd:{folder}")
    export_artifacts([tmp_path / "learned" / FIRST], tmp_path / "bundle", plan, quiet)
    found = Bundle(tmp_path / "bundle").manifest().tasks[FIRST]
    assert len(found.engine.stages) == (2 if layout == "shared" else 1)
    limit = 1e-4 if precision == "fp32" else 3e-2
    assert found.certificate.flips == 0 and 0 < found.certificate.score_max < limit
    assert found.certificate.map_max is not None and 0 < found.certificate.map_max < limit
