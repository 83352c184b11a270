"""IB-IUMAD from parts with depth to verdicts: one graph, model versions, calibration anew."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from cad_edge.cli import main
from cad_edge.data.depth import to_size
from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import decode_image
from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import read_artifact, with_sharing_tasks
from cad_edge.store.bundle import Bundle
from cad_edge_export.certificate import reference_model
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.fusions.ib_iumad.fusion import shared
from cad_edge_export.fusions.ib_iumad.reconstruction import FastNetwork
from cad_edge_export.graphs import made_from
from cad_edge_export.plan import ExportPlan
from cad_edge_export.resizing import aligned_matrix, box_matrix, resized
from cad_edge_runtime import Detector
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.model import network_of
from cad_edge_training.train import train
from tests.training.rgbd_products import NAMES, PARTS, SIDE, STEPS, quick_plan, rgbd_stream
from tests.training.small_products import quiet

LOOKS: dict[str, dict[str, str]] = {
    "rgbd": {},
    "rgb": {"modality": "rgb"},
    "depth": {"modality": "depth"},
    "rgbd-plain": {"residual": "plain"},
    "rgbd-alone": {"reconstruct": "false"},
}
"""By the beginning of a folder's name: what is looked at, and how it is judged."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return folder, rgbd_stream(folder, train=PARTS)


@pytest.fixture(
    scope="module",
    params=[
        "rgbd",
        "rgbd-alone",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("rgb", "depth", "rgbd-plain")),
    ],
)
def learned(request, tmp_path_factory) -> Path:
    """One product, learned by what is looked at."""
    out = tmp_path_factory.mktemp(request.param)
    stream = rgbd_stream(tmp_path_factory.mktemp("part"), (("gear",),), train=PARTS)
    train(stream, out, quick_plan(LOOKS[request.param]), lambda name: quiet)
    return out


@pytest.fixture(scope="module")
def artifacts(parts, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("rgbd")
    train(parts[1], out, quick_plan(), lambda name: quiet)
    return out


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("efficientnet-lite0", SIDE)


def export(artifacts: Path, count: int, bundle: Path) -> list[str]:
    """Export the first ``count`` tasks as if no other had been learned."""
    found = [artifacts / name for name in NAMES[:count]]
    return export_artifacts(found, bundle, ExportPlan(), quiet)


@pytest.fixture(scope="module")
def bundle(artifacts, tmp_path_factory) -> Path:
    """A version for every step."""
    place = tmp_path_factory.mktemp("bundle") / "line"
    count = 0
    for step in STEPS:
        count += len(step)
        assert export(artifacts, count, place) == list(step)
    return place


@pytest.fixture(scope="module")
def frames(parts):
    """Images, depths and products of test parts."""
    found = []
    for task in parts[1].tasks:
        for item in task.images().test[::3]:
            found.append((item.path, item.depth, task.name))
    return found


@pytest.mark.parametrize("layout", ["shared", "fused"])
def test_every_modality_is_certified_in_both_layouts(learned, layout, tmp_path):
    export_artifacts([learned / "gear"], tmp_path / "line", ExportPlan(layout=layout), quiet)
    entry = Bundle(tmp_path / "line").manifest().tasks["gear"]
    certificate = entry.certificate
    assert certificate.score_max <= certificate.tolerance == 1e-4
    assert certificate.map_max <= 1e-4 and certificate.flips == 0
    assert (certificate.witness_images, certificate.adversarial_images) == (8, 5)
    assert (entry.depth is None) is learned.name.startswith("rgb0")
    assert len(entry.calibration.map_peaks) == len(entry.calibration.scores) >= 2
    assert len(entry.engine.stages) == (2 if layout == "shared" else 1)
    for stage in entry.engine.stages:
        model = onnx.load(Bundle(tmp_path / "line").object_folder(stage.graph) / "graph.onnx")
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & {"Loop", "Scan", "If", "NonZero", "Unique", "Resize"}


def test_products_share_all_graphs_and_own_their_range_and_whitening(bundle):
    manifest = Bundle(bundle).manifest()
    engines = [entry.engine for entry in manifest.tasks.values()]
    assert len({tuple(stage.graph for stage in engine.stages) for engine in engines}) == 1
    assert manifest.selector.engine.stages[0].graph == engines[0].stages[0].graph
    assert engines[0].stages[1].inputs == {
        "hidden": "0/hidden",
        "early": "0/early",
        "depth": "frame/depth",
        "depth_range": "tensor/depth_range",
        "whitening_mean": "tensor/whitening_mean",
        "whitening": "tensor/whitening",
    }
    for name, entry in manifest.tasks.items():
        held = Bundle(bundle).read_object(entry.engine.tensors)["tensors.safetensors"]
        assert len(held) < 384 * 385 * 4 + 500, name
        # In the files' steps of 0.01 mm.
        assert 48_000 < entry.depth.low < entry.depth.high < 50_100


def test_detector_answers_as_torch(bundle, artifacts, backbone, frames):
    tasks = with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES])
    models = {task.artifact.task: reference_model(task, backbone) for task in tasks}
    with Detector.open(bundle) as detector:
        for image, depth, name in frames[:8]:
            found = detector.detect(image, task=name, depth=depth)
            rgb = backbone.recipe.apply(decode_image(image))
            plane = to_size(decode_depth(depth), backbone.recipe)
            with torch.inference_mode():
                score, anomaly_map = models[name](
                    torch.from_numpy(rgb)[None], torch.from_numpy(plane)[None]
                )
            assert found.score == pytest.approx(float(score), rel=1e-4)
            np.testing.assert_allclose(found.anomaly_map, anomaly_map[0].numpy(), rtol=1e-3)


def test_recognised_and_given_products_get_one_answer(bundle, frames):
    image, depth, name = frames[0]
    with Detector.open(bundle) as detector:
        routed = detector.detect(image, depth=depth)
        given = detector.detect(image, task=name, depth=depth)
    assert routed.task == name
    assert routed.score == given.score


def test_rolling_back_gives_the_scores_of_before(artifacts, bundle, frames, tmp_path):
    """Bit for bit, by one command, and what was before comes back as well."""
    place = Path(shutil.copytree(bundle, tmp_path / "line"))
    older = tmp_path / "older"
    export(artifacts, 2, older)
    name = NAMES[0]

    def scores() -> list[float]:
        with Detector.open(place) as detector:
            return [
                detector.detect(path, task=name, depth=plane).score
                for path, plane, task in frames
                if task == name
            ]

    newest = scores()
    done = CliRunner().invoke(main, ["rollback", str(place), "--to", "1"])
    assert done.exit_code == 0, done.output
    before = scores()
    assert before != newest
    with Detector.open(older) as detector:
        fresh = [
            detector.detect(path, task=name, depth=plane).score
            for path, plane, task in frames
            if task == name
        ]
    assert before == fresh
    assert CliRunner().invoke(main, ["rollback", str(place), "--to", "3"]).exit_code == 0
    assert scores() == newest


def test_a_task_of_a_step_is_not_exported_without_its_last(artifacts, tmp_path):
    with pytest.raises(ArtifactError, match="learned together with others"):
        export(artifacts, 1, tmp_path / "line")


def test_old_thresholds_are_made_anew(artifacts, bundle):
    newest = Bundle(bundle).manifest().tasks[NAMES[0]]
    learned = read_artifact(artifacts / NAMES[0])
    assert newest.calibration.scores != learned.artifact.calibration.scores
    assert len(newest.calibration.scores) == len(learned.artifact.calibration.scores)
    assert newest.certificate.drift > 0


def test_graph_of_a_generation_has_a_name_of_its_own(artifacts, backbone):
    tasks = [read_artifact(artifacts / name) for name in NAMES]
    keys = {
        made_from(shared(with_sharing_tasks(tasks[:count])[0], backbone, "fp32").stages[1])
        for count in (2, 3, 4)
    }
    assert len(keys) == 3 and None not in keys


def test_fast_network_is_the_network(artifacts, backbone):
    task = with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES])[0]
    config = Config.model_validate(task.artifact.hyperparameters)
    network = network_of(backbone, config, task.model_tensors()).eval()
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        tokens = {name: torch.randn(3, 16, 192) for name in config.modalities}
    with torch.inference_mode():
        expected = network(tokens, tokens).features
        found = FastNetwork(network)(tokens)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(("out", "size"), [(14, 112), (14, 28), (224, 14), (14, 14), (1, 5)])
def test_resizing_is_interpolation(out, size):
    grid = torch.rand(1, 2, size, size)
    how = {"mode": "bilinear", "align_corners": True}
    expected = torch.nn.functional.interpolate(grid, (out, out), **how)
    weights = aligned_matrix(out, size)
    torch.testing.assert_close(weights @ grid @ weights.T, expected)
    torch.testing.assert_close(resized(grid, out, "bilinear"), expected)


@pytest.mark.parametrize("size", [112, 28, 14])
def test_area_is_the_mean_of_what_falls_into_a_place(size):
    grid = torch.rand(1, 2, size, size)
    expected = torch.nn.functional.interpolate(grid, (14, 14), mode="area")
    torch.testing.assert_close(resized(grid, 14, "area"), expected)


def test_window_is_average_pooling():
    grid = torch.rand(1, 1, 40, 40)
    weights = box_matrix(40, 16)
    expected = torch.nn.functional.avg_pool2d(grid, 16, 1)
    torch.testing.assert_close(weights @ grid @ weights.T, expected)
