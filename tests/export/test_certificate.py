"""Certificates: what they hold, and that a graph which answers otherwise is not written."""

import dataclasses
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cad_edge.calibration import decide
from cad_edge.errors import CertificateError
from cad_edge.store.artifact import read_artifact, write_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_export.certificate import ModelAnswers, adversarial_images, certify, compare
from cad_edge_export.fusions import load_fusion
from cad_edge_export.graph_files import GRAPH, Graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.patch_memory.config import Config
from cad_edge_training.methods.patch_memory.learn import build_model
from tests.export.conftest import export
from tests.export.test_incremental import content
from tests.training.small_products import NAMES


@dataclasses.dataclass
class Bench:
    """Everything that `certify` takes, for one task."""

    task: object
    model: object
    fused: object
    graphs: list[Graph]
    threshold: float

    def certify(self, graphs=None, tensors=None, threshold=None):
        fused = self.fused
        if tensors is not None:
            fused = dataclasses.replace(fused, tensors={**fused.tensors, **tensors})
        limit = self.threshold if threshold is None else threshold
        return certify(self.task, self.model, fused, graphs or self.graphs, "fp32", limit)


@pytest.fixture(scope="module")
def bench(tiny, dinov2) -> Bench:
    task = read_artifact(tiny / "stripes")
    backbone = load_backbone(f"dinov2:{dinov2}", 56)
    config = Config.model_validate(task.artifact.hyperparameters)
    fused = load_fusion("patch_memory", "shared")(task, backbone, "fp32")
    graphs = [to_onnx(stage) for stage in fused.stages]
    model = build_model(backbone, config, task.tensors)
    decision = decide(task.artifact.calibration, 0.1)
    return Bench(task, model, fused, graphs, decision.threshold)


def test_certificate_says_what_was_compared(bench):
    found = bench.certify()
    assert (found.witness_images, found.adversarial_images) == (8, 5)
    assert found.reference.startswith("torch 2") and "CPUExecutionProvider" in found.runtime
    assert 0 <= found.score_mean <= found.score_max <= found.tolerance == 1e-4
    assert 0 < found.map_mean <= found.map_max <= found.tolerance
    assert found.flips == 0 and found.score_range > 0


def test_certificates_of_the_default_trunk_are_in_the_manifest(shared, fused):
    for path in (shared, fused):
        for entry in Bundle(path).manifest().tasks.values():
            assert entry.certificate.score_max <= 1e-4 and entry.certificate.map_max <= 1e-4
            assert entry.certificate.flips == 0


def test_changed_scale_tensor_is_caught_and_the_task_named(bench):
    name = next(name for name in bench.fused.tensors if "gain" in name)
    changed = {name: bench.fused.tensors[name] * np.float32(1.001)}
    with pytest.raises(CertificateError, match=r"task stripes: .* worst image \d+ of 13"):
        bench.certify(tensors=changed)


def test_changed_weight_inside_a_graph_is_caught(bench):
    model = onnx.load_from_string(bench.graphs[1][GRAPH])
    weights = [one for one in model.graph.initializer if len(one.dims) == 2]
    victim = max(weights, key=lambda one: one.dims[0] * one.dims[1])
    values = numpy_helper.to_array(victim) * np.float32(1.01)
    victim.CopyFrom(numpy_helper.from_array(values, victim.name))
    with pytest.raises(CertificateError, match="task stripes"):
        bench.certify(graphs=[bench.graphs[0], {GRAPH: model.SerializeToString()}])


def test_constant_added_to_the_score_alone_is_caught(bench):
    """The map stays as it is, so the score has to be looked at by itself."""
    model = onnx.load_from_string(bench.graphs[1][GRAPH])
    shift = numpy_helper.from_array(np.float32([0.01 * bench.certify().score_range]), "shift")
    model.graph.initializer.append(shift)
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == "score":
                node.output[index] = "score_before"
    model.graph.node.append(onnx.helper.make_node("Add", ["score_before", "shift"], ["score"]))
    with pytest.raises(CertificateError, match=r"score differs by 0\.0"):
        bench.certify(graphs=[bench.graphs[0], {GRAPH: model.SerializeToString()}])


def test_broken_tensor_that_gives_no_number_is_caught(bench):
    name = next(name for name in bench.fused.tensors if name.startswith("patch_shift"))
    with pytest.raises(CertificateError):
        bench.certify(tensors={name: np.full_like(bench.fused.tensors[name], np.nan)})


def test_flip_is_refused_however_small_the_difference():
    values = np.linspace(0, 1, 13, dtype=np.float32)
    maps = np.zeros((13, 4, 4), np.float32)
    moved = values.copy()
    moved[6] += np.float32(1e-6)
    threshold = float(values[6]) + 5e-7
    found = compare(
        ModelAnswers(values, maps), ModelAnswers(moved, maps), 1e-4, threshold, [0.0, 1.0], 8
    )
    assert found.flips == 1 and found.score_max < 1e-4


def test_differences_are_fractions_of_the_natural_range_or_of_larger_values():
    expected = ModelAnswers(np.float32([0, 2, 1, 100]), None)
    got = ModelAnswers(np.float32([0.2, 2, 1, 101]), None)
    found = compare(expected, got, 1e-4, 50, [0.5], 3)
    assert found.score_range == 2
    assert found.score_max == pytest.approx(0.1) and found.map_max is None
    assert found.score_mean == pytest.approx((0.1 + 0.01) / 4)


def test_nothing_is_written_when_a_certificate_fails(tiny, tiny_first, dinov2, tmp_path):
    """The last of three tasks has a witness that no engine answers to; the second is sound."""
    broken = tmp_path / "artifacts"
    for name in NAMES:
        task = read_artifact(tiny / name)
        witness = dict(task.witness)
        if name == NAMES[2]:
            witness["score"] = witness["score"] + 0.01 * np.ptp(witness["score"])
        write_artifact(broken, task.artifact, task.tensors, task.routing, witness)
    bundle = shutil.copytree(tiny_first, tmp_path / "bundle")
    with pytest.raises(CertificateError, match=f"task {NAMES[2]}: .*nothing was written"):
        export(broken, bundle, backbone=f"dinov2:{dinov2}")
    assert content(bundle) == content(tiny_first)
    assert export(tiny, bundle, backbone=f"dinov2:{dinov2}") == list(NAMES[1:])


def test_adversarial_images_are_what_they_are_called():
    black, white, noise, checker, stripes = adversarial_images(32, 40)
    assert not black.any() and (white == 255).all()
    assert noise.std() > 60 and len(np.unique(noise)) > 200
    assert set(np.unique(checker)) == {0, 255} and (checker[:8, :8] == checker[8:16, 8:16]).all()
    assert (checker[:8, :8] != checker[:8, 8:16]).all()
    assert (stripes.sum(axis=2) == 255).all() and (np.sort(stripes, axis=2)[..., 2] == 255).all()
