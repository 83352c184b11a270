"""CL-Anomaly in eight bits: which products stay in float, and shared weights in a bundle."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cad_edge.calibration import Calibration, decide
from cad_edge.data.stream import read_stream
from cad_edge.errors import BundleError, CertificateError, DatasetError, OptionError
from cad_edge.store.artifact import read_artifact, with_sharing_tasks
from cad_edge.store.bundle import Bundle
from cad_edge_export import entries
from cad_edge_export.certificate import reference_model
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.fusions import load_fusion
from cad_edge_export.graphs import Graphs
from cad_edge_export.plan import ExportPlan
from cad_edge_export.quantisation import matmul, shared_weights
from cad_edge_export.quantisation.calibration_images import CalibrationImages
from cad_edge_export.quantisation.evidence import holds
from cad_edge_export.quantisation.matmul import products_in
from cad_edge_export.quantisation.running import run
from cad_edge_export.quantisation.shared_weights import quantise_shared_weights
from cad_edge_export.quantisation.tasks import FloatTask
from cad_edge_export.trunk_sizes import TrunkSizes
from cad_edge_runtime import Detector
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.train import TrainingPlan, train
from tests.export.expert_samples import NAMES as COLOURS
from tests.export.expert_samples import frames, reference, sharing_tasks
from tests.training.small_products import NAMES, quiet, spoil, texture, write_product
from tests.training.tiny_llava import save_tiny_llava

OPTIONS = {"epochs": "2", "batch": "4", "learning_rate": "0.01", "balanced": "true"}
DOWN = {f"2/decision.decoder.layers.{layer}.linears.down.weight" for layer in (0, 1)}


@pytest.fixture(scope="module", autouse=True)
def small_sides():
    """Products of the tiny model count, the narrow ones of its experts and gates do not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul, "SMALLEST_SIDE", 16)
        yield


@pytest.fixture(scope="module")
def tasks(siglip_base, graph_of) -> list[FloatTask]:
    """Two tasks with drawn experts on a tiny SigLIP, in float."""
    base = siglip_base
    learned = sharing_tasks(base, Config(), 2)
    fusion = load_fusion("cl_anomaly", "shared")
    fused = [fusion(task, base, "fp32") for task in learned]
    graphs = tuple(graph_of(stage) for stage in fused[0].stages)
    images = np.split(frames(base, 8), 2 * len(COLOURS))  # good and defective ones in turns
    found = []
    for number, (task, parts) in enumerate(zip(learned, fused, strict=True)):
        good, bad = images[2 * number], images[2 * number + 1]
        seen = CalibrationImages(good[:5], bad[:5], good[5:], bad)
        scores = sorted(float(score) for score in reference(base, task, good))
        calibration = Calibration(scheme="split", folds=1, scores=scores, map_peaks=[])
        keys = ("entry", "vision", "decision")
        found.append(FloatTask(task, parts, graphs, keys, seen, calibration))
    return found


@pytest.fixture(scope="module")
def quantised(tasks, exact_products):
    return quantise_shared_weights(tasks, {})


def test_every_product_of_constants_is_quantised_but_those_of_the_entry(tasks, quantised):
    for task in tasks:
        done = quantised[task.learned.artifact.task]
        assert done.graphs[0] is task.graphs[0]
        assert len(products_in(task.graphs[1])) == 2, "the projector"
        assert len(products_in(task.graphs[2])) == 2 * 7, "all linears of two layers"
        assert products_in(done.graphs[1]) == products_in(done.graphs[2]) == []
        assert done.evidence.kept_in_float == []
        assert done.fused is task.fused and not done.descriptor_shift.any()


def test_scores_stay_close(tasks, quantised):
    for task in tasks:
        done = quantised[task.learned.artifact.task]
        images = np.concatenate([task.images.normal, task.images.held_defective])
        in_float, got = (
            run(task.fused, graphs, images, ["score"])["score"]
            for graphs in (task.graphs, done.graphs)
        )
        shift = (got - in_float)[: len(task.images.normal)].mean()
        assert 0 < np.abs(got - in_float - shift).max() < 0.1 * np.ptp(in_float)
        assert holds(done.evidence)
        assert (done.evidence.evidence_normal, done.evidence.evidence_defective) == (3, 8)
        assert done.evidence.score_shift == pytest.approx(shift, rel=1e-3)


@pytest.mark.parametrize(("enough", "layers"), [(2, DOWN), (3, None), (99, None)])
def test_fewer_products_are_quantised_until_the_evidence_holds(tasks, monkeypatch, enough, layers):
    everything = {f"2/{name}" for name in products_in(tasks[0].graphs[2])}
    monkeypatch.setattr(shared_weights, "holds", lambda found: len(found.kept_in_float) >= enough)
    done = quantise_shared_weights(tasks, {})
    expected = layers or everything
    for task in tasks if enough < 99 else tasks[:1]:
        found = done[task.learned.artifact.task]
        assert set(found.evidence.kept_in_float) == expected
        assert {f"2/{name}" for name in products_in(found.graphs[2])} == expected
        assert (found.graphs[2] is task.graphs[2]) == (layers is None)
        assert products_in(found.graphs[1]) == [], "the tower stays quantised"


def test_graphs_that_exist_are_used_until_the_evidence_fails(tasks, quantised, monkeypatch):
    first = quantised[COLOURS[0]].graphs
    monkeypatch.setattr(shared_weights, "holds", lambda found: len(found.kept_in_float) >= 2)
    with_less = quantise_shared_weights(tasks, {})[COLOURS[0]].graphs
    held = {"vision": with_less[1], "decision": with_less[2]}
    for done in quantise_shared_weights(tasks, held).values():
        assert done.graphs[1] is held["vision"] and done.graphs[2] is held["decision"]
        assert set(done.evidence.kept_in_float) == DOWN, "they are told from the graph itself"
    for done in quantise_shared_weights(tasks, {"vision": first[1], "decision": first[2]}).values():
        assert set(done.evidence.kept_in_float) == DOWN
        assert done.graphs[2] == with_less[2]


def test_tasks_are_judged_by_their_scores_of_now(tasks):
    moved = dataclasses.replace(
        tasks[0],
        calibration=tasks[0].calibration.model_copy(
            update={"scores": [score + 100 for score in tasks[0].calibration.scores]}
        ),
    )
    assert moved.threshold == pytest.approx(tasks[0].threshold + 100)


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> str:
    folder = save_tiny_llava(tmp_path_factory.mktemp("base") / "tiny-llava", "lite0")
    return f"llava:{folder}"


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Path:
    """Stream file of two products with labelled defects."""
    folder = tmp_path_factory.mktemp("products")
    for name in NAMES[:2]:
        write_product(folder, name, good=24, test=8)
    tasks = [{"name": name, "path": name, "labelled": {"test_share": 0.2}} for name in NAMES[:2]]
    file = folder / "stream.json"
    file.write_text(json.dumps({"name": "small", "false_reject_rate": 0.2, "tasks": tasks}))
    return file


@pytest.fixture(scope="module")
def artifacts(llava, stream, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("experts")
    train(
        read_stream(stream),
        out,
        TrainingPlan("cl_anomaly", llava, None, OPTIONS, 0),
        lambda name: quiet,
    )
    return out


def export(artifacts, count, bundle, llava, stream, **options) -> None:
    plan = ExportPlan(precision="uint8", calibration=stream, backbone=llava, **options)
    export_artifacts([artifacts / name for name in NAMES[:count]], bundle, plan, quiet)


@pytest.fixture(scope="module")
def bundles(
    exact_products, artifacts, llava, stream, graph_of, tmp_path_factory
) -> tuple[Path, Path]:
    """The first task, which can be asked in words; and both, grown from it."""
    folder = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cad_edge_export.graphs.to_onnx", graph_of)
        # The scores of a model of two layers lie so close together that many verdicts turn.
        patch.setattr("cad_edge_export.quantisation.evidence.LARGEST_FLIP_RATE", 0.2)
        export(artifacts, 1, folder / "first", llava, stream)
        shutil.copytree(folder / "first", folder / "both")
        export(artifacts, 2, folder / "both", llava, stream, explanations=False)
    return folder / "first", folder / "both"


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    good = [texture(name, rng) for name in NAMES[:2] for _ in range(6)]
    return [frame for one in good for frame in (one, spoil(one))]


def test_a_new_task_costs_no_graph_and_every_member_has_evidence(bundles):
    (first,) = Bundle(bundles[0]).manifest().tasks.values()
    manifest = Bundle(bundles[1]).manifest()
    for entry in manifest.tasks.values():
        assert entry.engine.precision == "uint8" and entry.engine.stages == first.engine.stages
        certificate = entry.certificate
        assert certificate.tolerance is None and holds(certificate.quantisation)
        assert certificate.drift is not None
    assert manifest.tasks[NAMES[0]].certificate.drift > 0
    assert manifest.selector.engine.stages[0] == first.engine.stages[0]


def test_thresholds_are_those_of_the_newest_model_version_and_shifted(bundles, artifacts, llava):
    backbone = load_backbone(llava)
    held = Bundle(bundles[1]).manifest().tasks
    for task in with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES[:2]]):
        entry, now = held[task.artifact.task], entries.calibration_now(task, backbone)
        shift = entry.certificate.quantisation.score_shift
        assert shift != 0
        np.testing.assert_allclose(
            entry.calibration.scores, np.array(now.scores) + shift, rtol=1e-5, atol=1e-6
        )
        assert entry.decision == decide(entry.calibration, 0.2)


def test_device_says_nearly_what_torch_says(bundles, artifacts, llava, images):
    backbone = load_backbone(llava)
    pixels = torch.from_numpy(np.stack([backbone.recipe.apply(frame) for frame in images]))
    with Detector.open(bundles[1], device="cpu", watch=False) as detector:
        for task in with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES[:2]]):
            with torch.inference_mode():
                score = reference_model(task, backbone)(pixels)[0].numpy()
            name = task.artifact.task
            said = np.array([detector.detect(frame, task=name).score for frame in images])
            assert 0 < np.abs(said - score).max() < 0.1 * np.ptp(score)
            assert np.corrcoef(said, score)[0, 1] > 0.99
        routed = [detector.detect(frame).task for frame in images[::2]]
        assert routed == [name for name in NAMES[:2] for _ in range(6)]


def test_words_stay_in_float(bundles, images):
    (entry,) = Bundle(bundles[0]).manifest().tasks.values()
    explainer, engine = entry.explainer, entry.engine
    assert explainer.engine.precision == "fp32" and explainer.certificate.other_tokens == 0
    assert explainer.engine.stages[0].graph == engine.stages[0].graph, "the entry is the same"
    assert explainer.engine.stages[1].graph != engine.stages[1].graph
    with Detector.open(bundles[0], device="cpu", watch=False) as detector:
        assert detector.explain(images[1], task=NAMES[0], max_tokens=2).tokens


def test_int8_is_refused(artifacts, llava, stream, tmp_path):
    plan = ExportPlan(precision="int8", calibration=stream, backbone=llava)
    with pytest.raises(OptionError, match="cl_anomaly is not exported in int8, since TensorRT"):
        export_artifacts([artifacts / NAMES[0]], tmp_path / "bundle", plan, quiet)


def test_a_stream_without_an_older_member_is_refused(artifacts, llava, stream, tmp_path):
    content = json.loads(stream.read_text())
    tasks = [task | {"path": str(stream.parent / task["path"])} for task in content["tasks"]]
    alone = tmp_path / "alone.json"
    alone.write_text(json.dumps(content | {"tasks": tasks[1:]}))
    with pytest.raises(DatasetError, match=f"has no task {NAMES[0]}"):
        export(artifacts, 2, tmp_path / "bundle", llava, alone)


def test_a_task_that_eight_bits_change_is_refused(
    tasks, siglip_base, stream, tmp_path, monkeypatch
):
    monkeypatch.setattr(entries, "_float_tasks", lambda *_: tasks)
    monkeypatch.setattr("cad_edge_export.quantisation.evidence.SMALLEST_RANK_CORRELATION", 1.1)
    graphs = Graphs(Bundle(tmp_path / "bundle"), None, "uint8")
    learned = [task.learned for task in tasks]
    plan = ExportPlan(precision="uint8", calibration=stream)
    with pytest.raises(CertificateError, match=f"task {COLOURS[0]}: uint8 changes what"):
        entries.quantised_entries(learned, TrunkSizes(siglip_base), plan, graphs, quiet)


def test_no_other_method_joins_shared_weights_in_eight_bits(bundles, lite0, products, tmp_path):
    bundle = Path(shutil.copytree(bundles[0], tmp_path / "bundle"))
    plan = ExportPlan(precision="uint8", calibration=products / "checks-stripes-waves.json")
    with pytest.raises(
        BundleError, match="cl_anomaly and patch_memory do not share a bundle in uint8"
    ):
        export_artifacts([lite0 / NAMES[1]], bundle, plan, quiet)
