"""Certificates with depth: both sides see it, near, far, noisy, in steps and with gaps."""

import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cad_edge.calibration import decide
from cad_edge.errors import ArtifactError, CertificateError, OptionError
from cad_edge.store.artifact import read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_export.certificate import adversarial_depth, certify, reference_model, run_stages
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.plan import ExportPlan
from cad_edge_training.backbones import load_backbone
from tests.export import level_method
from tests.export.level_method import RANGE, Learner, judged
from tests.export.test_incremental import content
from tests.training.small_products import NAMES, quiet


@pytest.fixture(autouse=True)
def level(monkeypatch):
    level_method.install(monkeypatch)


@pytest.fixture(scope="module")
def backbone(dinov2):
    return load_backbone(f"dinov2:{dinov2}", 56)


@pytest.fixture(scope="module")
def entry(backbone):
    """Graph of the first stage, which takes seconds to make."""
    return to_onnx(level_method.entry(backbone, None, "fp32"))


@dataclass
class Sample:
    """A task, and what certifies it."""

    backbone: object
    entry: object
    task: object

    def certify(self, change=None, task=None):
        task = task or self.task
        fused = level_method.shared(task, self.backbone, "fp32")
        if change is not None:
            stages = (fused.stages[0], replace(fused.stages[1], module=change))
            fused = replace(fused, stages=stages)
        graphs = [self.entry, to_onnx(fused.stages[1])]
        threshold = decide(task.artifact.calibration, 0.1).threshold
        model = reference_model(task, self.backbone)
        return certify(task, model, fused, graphs, "fp32", threshold)


@pytest.fixture
def whole(tiny, backbone, entry, tmp_path) -> Sample:
    """Learned with depth, and its witness has no gap."""
    path = Learner(tiny).learn(tmp_path, NAMES[0], depth=True, gaps=False)
    return Sample(backbone, entry, read_artifact(path))


def test_planes_are_near_far_noisy_in_steps_and_with_gaps():
    planes = adversarial_depth(RANGE, 56, 40)
    assert planes.shape == (5, 56, 40) and planes.dtype == np.float32
    near, far, noise, steps, gaps = planes
    assert (near == 480).all() and (far == 520).all()
    assert 480 <= noise.min() < 485 and 515 < noise.max() <= 520
    assert set(np.unique(steps)) == {480, 520} and 0.4 < (steps == 480).mean() < 0.6
    assert (gaps == 0).mean() == 0.5 and ((gaps == 0) | (gaps >= 480)).all()
    np.testing.assert_array_equal(planes, adversarial_depth(RANGE, 56, 40))


def test_witness_and_adversarial_frames_come_with_depth(whole):
    found = whole.certify()
    assert (found.witness_images, found.adversarial_images) == (8, 5)
    assert 0 <= found.score_max <= 1e-4 and found.map_max <= 1e-4 and found.flips == 0


class FillsGaps(nn.Module):
    """What was not measured counts as the middle."""

    def forward(self, image, depth, gain):
        return judged((image, torch.where(depth > 0, depth, 500.0)), gain)


class ForgetsDepth(nn.Module):
    """Depth is taken and not looked at."""

    def forward(self, image, depth, gain):
        return judged((image, depth * 0 + 500), gain)


class ClipsFar(nn.Module):
    """No witness is as far as that."""

    def forward(self, image, depth, gain):
        return judged((image, depth.clamp_max(512)), gain)


@pytest.mark.parametrize("change", [FillsGaps, ForgetsDepth, ClipsFar])
def test_a_graph_that_reads_depth_otherwise_is_not_written(whole, change):
    """The witness has no gap and nothing far: the adversarial planes tell."""
    with pytest.raises(CertificateError, match="does not answer as torch did"):
        whole.certify(change())


def test_stages_get_depth_by_its_source(whole):
    fused = level_method.shared(whole.task, whole.backbone, "fp32")
    graphs = [whole.entry, to_onnx(fused.stages[1])]
    image, depth = whole.task.witness["image"], whole.task.witness["depth"]
    values = run_stages(fused, graphs, image, depth)
    assert values["frame/depth"] is depth
    expected = image.mean(axis=(1, 2, 3)) + depth.mean(axis=(1, 2))
    np.testing.assert_allclose(values["1/score"], expected, rtol=1e-5)


def test_a_model_without_depth_is_asked_about_images_alone(tiny, backbone, entry, tmp_path):
    """`Level` refuses what it was not learned with; a stray plane in a witness is left alone."""
    task = read_artifact(Learner(tiny).learn(tmp_path, NAMES[0], depth=False))
    sample = Sample(backbone, entry, task)
    assert sample.certify().flips == 0
    planes = np.full((8, 56, 56), 500, np.float32)
    stray = replace(task, witness={**task.witness, "depth": planes})
    assert sample.certify(task=stray) == sample.certify()


def test_a_witness_that_lacks_its_depth(whole):
    witness = {name: value for name, value in whole.task.witness.items() if name != "depth"}
    with pytest.raises(ArtifactError, match=r"looks at depth, and its witness holds none; learn"):
        whole.certify(task=replace(whole.task, witness=witness))


def test_the_range_is_data_of_the_task(tiny, dinov2, tmp_path):
    learner = Learner(tiny)
    learner.learn(tmp_path / "a", NAMES[0], depth=True)
    learner.learn(tmp_path / "a", NAMES[1], depth=False)
    paths = [tmp_path / "a" / name for name in NAMES[:2]]
    plan = ExportPlan(backbone=f"dinov2:{dinov2}")
    assert export_artifacts(paths, tmp_path / "bundle", plan, quiet) == list(NAMES[:2])
    entries = Bundle(tmp_path / "bundle").manifest().tasks
    assert entries[NAMES[0]].depth == RANGE and entries[NAMES[1]].depth is None
    assert "depth" not in entries[NAMES[1]].model_dump()
    assert entries[NAMES[0]].engine.stages[1].inputs == {
        "image": "frame/image",
        "depth": "frame/depth",
        "gain": "tensor/gain",
    }


@pytest.mark.parametrize("precision", ["int8", "uint8"])
@pytest.mark.parametrize("shared_weights", [None, 1.0])
def test_depth_is_not_offered_in_eight_bits(tiny, dinov2, tmp_path, precision, shared_weights):
    path = Learner(tiny).learn(tmp_path / "a", NAMES[0], depth=True, shared_weights=shared_weights)
    stream = tmp_path / "stream.json"
    plan = ExportPlan(precision=precision, backbone=f"dinov2:{dinov2}", calibration=stream)
    with pytest.raises(OptionError, match=rf"{NAMES[0]} looks at depth, and {precision} is meas"):
        export_artifacts([path], tmp_path / "bundle", plan, quiet)
    assert content(tmp_path / "bundle") == {}


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_a_method_that_cannot_be_quantised_says_so_before_anything_is_made(
    tiny, dinov2, tmp_path, precision, monkeypatch
):
    whole = level_method.LevelFusion()
    in_float = SimpleNamespace(shared=whole.shared, fused=whole.fused, entry=whole.entry)
    monkeypatch.setattr(sys.modules["cad_edge_export.fusions.level"], "FUSION", in_float)
    path = Learner(tiny).learn(tmp_path / "a", NAMES[0], depth=False)
    plan = ExportPlan(
        precision=precision, backbone=f"dinov2:{dinov2}", calibration=tmp_path / "s.json"
    )
    with pytest.raises(
        OptionError, match=f"^level cannot be quantised, .* in place of {precision}"
    ):
        export_artifacts([path], tmp_path / "bundle", plan, lambda *a: None)
    assert not (tmp_path / "bundle").exists()
