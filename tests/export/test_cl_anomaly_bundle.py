"""Tasks with shared weights, from labelled images to verdicts and words; older ones stay."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from cad_edge.calibration import decide
from cad_edge.data.stream import read_stream
from cad_edge.errors import ArtifactError, CertificateError
from cad_edge.store.artifact import LearnedTask, read_artifact, with_sharing_tasks
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine, Manifest, WordsCertificate
from cad_edge_export import bundle_export, commands
from cad_edge_export.certificate import reference_model
from cad_edge_export.drift import drift, drift_lines
from cad_edge_export.explanation_certificate import certify_explanation
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.fusions.cl_anomaly.fusion import explained
from cad_edge_export.graph_files import Graph
from cad_edge_export.language.explainer import ExplainerSource
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.learn import recalibrate, without_router
from cad_edge_training.train import TrainingPlan, train
from tests.export import test_graph_rules as rules
from tests.training.small_products import NAMES, quiet, spoil, texture, write_product
from tests.training.tiny_llava import save_tiny_llava

OPTIONS = {"epochs": "2", "batch": "4", "learning_rate": "0.01", "balanced": "true"}


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> str:
    folder = save_tiny_llava(tmp_path_factory.mktemp("base") / "tiny-llava", "lite0")
    return f"llava:{folder}"


@pytest.fixture(scope="module")
def artifacts(llava, tmp_path_factory) -> Path:
    """All three products, learned with labelled defects."""
    folder = tmp_path_factory.mktemp("experts")
    for name in NAMES:
        write_product(folder, name, good=12, test=8)
    tasks = [{"name": name, "path": name, "labelled": {"test_share": 0.2}} for name in NAMES]
    file = folder / "stream.json"
    file.write_text(json.dumps({"name": "small", "false_reject_rate": 0.2, "tasks": tasks}))
    out = folder / "artifacts"
    train(
        read_stream(file),
        out,
        TrainingPlan("cl_anomaly", llava, None, OPTIONS, 0),
        lambda name: quiet,
    )
    return out


def export(artifacts: Path, count: int, bundle: Path, plan: ExportPlan) -> list[str]:
    """Export the first ``count`` tasks as if no other had been learned."""
    return export_artifacts([artifacts / name for name in NAMES[:count]], bundle, plan, quiet)


@pytest.fixture(scope="module")
def versions(artifacts, llava, tmp_path_factory) -> list[Path]:
    """The bundle after one, two and three tasks, each grown from the one before."""
    folder = tmp_path_factory.mktemp("bundles")
    found: list[Path] = []
    for count in (1, 2, 3):
        place = folder / f"after-{count}"
        if found:
            shutil.copytree(found[-1], place)
        assert export(artifacts, count, place, ExportPlan(backbone=llava)) == [NAMES[count - 1]]
        found.append(place)
    return found


@pytest.fixture(scope="module")
def manifests(versions) -> list[Manifest]:
    return [Bundle(path).manifest() for path in versions]


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Good and spoiled parts of all products in turns."""
    rng = np.random.default_rng(5)
    good = [texture(name, rng) for name in NAMES for _ in range(2)]
    return [frame for one in good for frame in (one, spoil(one))]


def graphs_of(engine: Engine) -> list[tuple[str, str | None]]:
    return [(stage.graph, stage.made_from) for stage in engine.stages]


def test_a_new_task_costs_its_own_object_and_no_graph(manifests):
    engines = [entry.engine for found in manifests for entry in found.tasks.values()]
    assert len(engines) == 6
    assert all(graphs_of(engine) == graphs_of(engines[0]) for engine in engines)
    assert all(made is not None for _, made in graphs_of(engines[0]))
    selector = manifests[-1].selector.engine
    assert graphs_of(selector)[0] == graphs_of(engines[0])[0]


def test_what_a_task_owns_stays_byte_for_byte(versions, manifests):
    last = manifests[-1].tasks[NAMES[0]].engine.joint
    assert len(last) == 4 and len(set(last)) == 4
    for count, found in enumerate(manifests, start=1):
        for entry in found.tasks.values():
            assert entry.engine.tensors is None
            assert entry.engine.joint[:-1] == last[:count]
    versions_of_weights = {found.tasks[NAMES[0]].engine.joint[-1] for found in manifests}
    assert len(versions_of_weights) == 3
    first, third = (Bundle(versions[number]).read_object(last[0]) for number in (0, 2))
    assert first == third


def test_every_member_is_certified_again_with_its_drift(manifests):
    assert manifests[0].tasks[NAMES[0]].certificate.drift == 0
    for entry in manifests[-1].tasks.values():
        assert entry.certificate.flips == 0 and entry.certificate.score_max <= 1e-4
        assert entry.certificate.map_max is None
    assert manifests[-1].tasks[NAMES[0]].certificate.drift > 0
    assert manifests[-1].tasks[NAMES[-1]].certificate.drift < 1e-6


def test_drift_is_said_in_words(versions, manifests, monkeypatch):
    assert drift_lines(manifests[0], [NAMES[0]]) == []
    monkeypatch.setattr(bundle_export, "export_folder", lambda *given: [NAMES[-1]])
    done = CliRunner().invoke(commands.export, ["artifacts", "--bundle", str(versions[-1])])
    said = done.output.splitlines()
    lines = said[said.index(f"added {NAMES[-1]} to {versions[-1]}") + 1 :]
    for name, line in zip(NAMES[:-1], lines, strict=True):
        found = manifests[-1].tasks[name].certificate
        assert line == (
            f"{name}: scores moved by at most {found.drift:.2g} since it was learned, "
            f"{found.drift_flips} of 8 verdicts changed"
        )


def test_verdicts_that_changed_are_counted(artifacts):
    """Each by the threshold of its time: all witnesses move far above the new one."""
    task = with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES])[0]
    then = task.witness["score"]
    limit = decide(task.artifact.calibration, task.artifact.false_reject_rate).threshold
    found = drift(task, np.append(then + np.float32(1), 100), float(then.min()))
    assert found["drift"] == pytest.approx(1) and found["drift_flips"] == (then <= limit).sum()
    assert drift(task, then, limit) == {"drift": 0, "drift_flips": 0}


@dataclass(frozen=True)
class Wording:
    """What `certify_explanation` takes, for the second task."""

    task: LearnedTask
    made: ExplainerSource
    graphs: list[Graph]
    decoder: Graph
    certificate: WordsCertificate

    def certify(self, **changes: object) -> WordsCertificate:
        made = dataclasses.replace(self.made, **changes)
        return certify_explanation(self.task, made, self.graphs, self.decoder, "fp32")


@pytest.fixture(scope="module")
def wording(artifacts, llava, versions, manifests) -> Wording:
    task = with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES])[1]
    held, store = manifests[-1].tasks[NAMES[1]].explainer, Bundle(versions[-1])
    graphs = [store.read_object(stage.graph) for stage in held.engine.stages]
    made = explained(task, load_backbone(llava), "fp32")
    decoder = store.read_object(held.decoder.graph)
    return Wording(task, made, graphs, decoder, held.certificate)


def test_words_are_certified(wording):
    found = wording.certificate
    assert found == wording.certify()
    assert (found.witness_images, found.tokens_each, found.other_tokens) == (8, 6, 0)
    assert 0 < found.logit_max <= found.tolerance == 1e-4 and found.logit_range > 1


@pytest.mark.parametrize("what", ["embedding", "question", "experts"])
def test_words_that_are_not_those_of_torch_are_refused(wording, what):
    made = wording.made
    joint = [dict(one) for one in made.engine.joint]
    joint[1]["private_b_v"] = joint[1]["private_b_v"] * np.float32(1.1)
    changes = {
        "embedding": {name: one * np.float32(1.01) for name, one in made.embedding.items()},
        "texts": made.texts.model_copy(update={"question": "Is it?"}),
        "engine": dataclasses.replace(made.engine, joint=tuple(joint)),
    }
    key = {"question": "texts", "experts": "engine"}.get(what, what)
    with pytest.raises(CertificateError, match=rf"task {NAMES[1]}: the exported words are not"):
        wording.certify(**{key: changes[key]})


def test_a_member_that_is_missing_stops_the_export(artifacts, llava, versions, tmp_path):
    place = Path(shutil.copytree(versions[0], tmp_path / "bundle"))
    with pytest.raises(ArtifactError, match=NAMES[0]):
        export_artifacts([artifacts / NAMES[1]], place, ExportPlan(backbone=llava), quiet)


def test_device_says_what_torch_says(artifacts, llava, versions, frames):
    backbone = load_backbone(llava)
    tasks = with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES])
    images = np.stack([backbone.recipe.apply(frame) for frame in frames])
    with Detector.open(versions[-1], device="cpu", watch=False) as detector:
        for task in tasks:
            name = task.artifact.task
            with torch.inference_mode():
                score = reference_model(task, backbone)(torch.from_numpy(images))[0].numpy()
            found = [detector.detect(frame, task=name) for frame in frames]
            said = np.array([one.score for one in found], np.float32)
            np.testing.assert_allclose(said, score, atol=1e-4 * float(np.ptp(score)))
            likely = [one.probability for one in found]
            np.testing.assert_allclose(likely, 1 / (1 + np.exp(-score)), atol=1e-4)
            assert all(one.anomaly_map is None and not one.defects for one in found)
        routed = [detector.detect(frame).task for frame in frames[::2]]
        assert routed == [name for name in NAMES for _ in range(2)]


def test_rolled_back_scores_are_bit_identical(versions, frames, tmp_path):
    place = Path(shutil.copytree(versions[2], tmp_path / "bundle"))
    with (
        Detector.open(versions[0], device="cpu", threads=1, watch=False) as old,
        Detector.open(place, device="cpu", threads=1, watch=False) as new,
    ):
        then = [old.detect(frame, task=NAMES[0]) for frame in frames]
        now = [new.detect(frame, task=NAMES[0]) for frame in frames]
        assert any(one.score != other.score for one, other in zip(then, now, strict=True))
        Bundle(place).rollback(1)
        assert new.refresh() and new.tasks() == (NAMES[0],)
        for frame, expected in zip(frames, then, strict=True):
            found = new.detect(frame, task=NAMES[0])
            assert (found.score, found.p_value) == (expected.score, expected.p_value)
            assert found.threshold == expected.threshold


def test_a_fused_engine_answers_as_the_shared_one(artifacts, llava, versions, frames, tmp_path):
    export(
        artifacts, 1, tmp_path / "fused", ExportPlan("fused", backbone=llava, explanations=False)
    )
    with (
        Detector.open(versions[0], device="cpu", watch=False) as one,
        Detector.open(tmp_path / "fused", device="cpu", watch=False) as other,
    ):
        assert other.manifest.tasks[NAMES[0]].explainer is None
        ours = [one.detect(frame, task=NAMES[0]) for frame in frames]
        theirs = [other.detect(frame, task=NAMES[0]) for frame in frames]
        scores = np.array([found.score for found in ours])
        said = np.array([found.score for found in theirs])
        np.testing.assert_allclose(said, scores, atol=1e-4 * float(np.ptp(scores)))
        assert [found.verdict for found in ours] == [found.verdict for found in theirs]


def test_merged_shared_experts_are_measured_and_calibrated_anew(artifacts, llava, tmp_path):
    plan = ExportPlan("fused", backbone=llava, explanations=False, merge_shared=True)
    export(artifacts, 1, tmp_path / "lean", plan)
    entry = Bundle(tmp_path / "lean").manifest().tasks[NAMES[0]]
    (task,) = with_sharing_tasks([read_artifact(artifacts / NAMES[0])])
    backbone, config = load_backbone(llava), Config.model_validate(entry.hyperparameters)
    exact, lean = (
        recalibrate(backbone, config, one).scores
        for one in (task, without_router(backbone, config, task))
    )
    np.testing.assert_allclose(entry.calibration.scores, lean, rtol=1e-6)
    assert entry.calibration.scores != exact
    effect = entry.certificate.merged_shared
    assert effect.held_out_images == len(lean) and effect.witness_images == 8
    assert effect.score_max >= effect.score_mean > 0 and effect.rank_correlation >= 0.9
    assert effect.flips_held_out + effect.flips_witness <= 1
    assert entry.certificate.flips == 0 and entry.certificate.score_max <= 1e-4


def test_every_task_can_be_asked(versions, frames):
    with Detector.open(versions[-1], device="cpu", watch=False) as detector:
        found = detector.explain(frames[1], task=NAMES[0], max_tokens=6)
        assert found.task == NAMES[0] and 1 <= len(found.tokens) <= 6
        for task in detector.manifest.tasks.values():
            explainer = task.explainer
            assert graphs_of(explainer.engine) == graphs_of(task.engine)[:2]
            assert explainer.engine.joint == task.engine.joint


@pytest.fixture(scope="module")
def graphs(versions) -> dict[str, tuple[bytes, onnx.ModelProto]]:
    found = {}
    for file in sorted((versions[-1] / "objects").glob("*/graph.onnx")):
        data = file.read_bytes()
        found[file.parent.name] = (data, onnx.load_from_string(data))
    assert len(found) == 5  # entry, distance, vision, decision, words
    return found


def test_graphs_keep_the_rules(graphs):
    rules.test_standard_operators_of_opset_17_to_20_alone(graphs)
    rules.test_no_operator_that_tensorrt_refuses(graphs)
    rules.test_weights_are_inside_the_graph(graphs)


def test_nothing_of_the_workstation_is_inside(graphs, versions):
    rules.test_nothing_of_the_workstation_is_inside(graphs, versions[0])


def test_only_frames_tasks_and_rows_vary(graphs):
    allowed = {"batch": 0, "tasks": 0, "keys_0": 0, "rows": 1, "rows_before": 3}
    for _, model in graphs.values():
        for value in model.graph.input:
            axes = value.type.tensor_type.shape.dim
            named = {axis.dim_param: index for index, axis in enumerate(axes) if axis.dim_param}
            assert named.items() <= allowed.items(), value.name
