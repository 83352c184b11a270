"""Levels of evidence from a method to the device: names, certificate, refusals."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cad_edge.errors import ArtifactError, CadEdgeError, CertificateError
from cad_edge.store.artifact import read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_export.certificate import run_chain
from cad_edge_export.exporter import export_artifacts, export_folder
from cad_edge_export.fused_task import FusedTask, StageModule
from cad_edge_export.fusion import names_of_levels
from cad_edge_export.fusions import padim
from cad_edge_export.fusions.padim import PaDiMFusion, PadimHead
from cad_edge_export.fusions.patch_memory import PatchMemoryFusion, PatchMemoryHead
from cad_edge_export.level_certificate import LevelAnswers, level_differences
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.padim import method as padim_method
from tests.export import level_method
from tests.export.level_method import Fast, Learner, Level, LevelFusion, LevelMethod, judged
from tests.training.small_products import NAMES, learn, quiet, stream_of

LEVELS = ("bright", "dark")
SMALL_PADIM = {"dimensions": "12"}
OUTPUTS = ("score", "anomaly_map", "levels", "level_maps")


def levels_of(anomaly_map: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far a map is above 100 and below it, and the means of both, that of dark less 20."""
    maps = torch.stack([anomaly_map - 100, 100 - anomaly_map], dim=1).clamp_min(0)
    return maps.mean(dim=(2, 3)) - torch.tensor([0.0, 20.0]), maps


class WithLevels(Level):
    """A reference model that shows its levels, which are times ``factor``."""

    factor = 1.0

    def levels(self, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels, maps = levels_of(self(*given)[1])
        return levels * self.factor, maps


class FastWithLevels(Fast):
    """Its fast form; ``wrong`` is added to levels and to their maps."""

    def __init__(self, wrong: tuple[float, float]) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        score, anomaly_map = judged(given[:-1], given[-1])
        levels, maps = levels_of(anomaly_map)
        return score, anomaly_map, levels + self.wrong[0], maps + self.wrong[1]


class WithLevelsMethod(LevelMethod):
    """The method whose model shows levels."""

    model = WithLevels

    def build_model(self, backbone, config, tensors):
        return self.model(config.depth, torch.from_numpy(tensors["gain"]))


class WithLevelsFusion(LevelFusion):
    """A fusion that names the levels of its engines."""

    def __init__(self) -> None:
        self.level_names, self.outputs, self.wrong = LEVELS, OUTPUTS, (0.0, 0.0)

    def shared(self, task, backbone, precision) -> FusedTask:
        entry, stage = level_method.shared(task, backbone, precision).stages
        module = FastWithLevels(self.wrong) if "levels" in self.outputs else Fast()
        last = StageModule(module, stage.inputs, self.outputs)
        return FusedTask((entry, last), {"gain": task.model_tensors()["gain"]})

    fused = shared


@pytest.fixture
def made(tiny, dinov2, tmp_path, monkeypatch):
    """A learned task, the method and the fusion that it is exported by, and how."""
    level_method.install(monkeypatch)
    method, fusion = WithLevelsMethod(), WithLevelsFusion()
    for path, content in (
        (f"cad_edge_training.methods.{level_method.NAME}.method", {"METHOD": method}),
        (f"cad_edge_export.fusions.{level_method.NAME}", {"FUSION": fusion}),
    ):
        vars(sys.modules[path]).update(content)
    learned = Learner(tiny).learn(tmp_path / "artifacts", NAMES[0], depth=False)
    bundle, plan = tmp_path / "bundle", ExportPlan(backbone=f"dinov2:{dinov2}")
    return SimpleNamespace(
        method=method,
        fusion=fusion,
        bundle=bundle,
        export=lambda: export_artifacts([learned], bundle, plan, quiet),
    )


def test_names_and_figures_come_to_the_device(made):
    made.export()
    entry = Bundle(made.bundle).manifest().tasks[NAMES[0]]
    assert entry.levels == [*LEVELS]
    assert 0 <= entry.certificate.levels_max <= 1e-4
    assert 0 <= entry.certificate.level_maps_max <= 1e-4
    side = entry.engine.recipe.width
    frames = [np.full((side, side, 3), grey, np.uint8) for grey in (150, 60, 90)]
    with Detector.open(made.bundle, threads=1, watch=False) as detector:
        found = [detector.detect(frame, task=NAMES[0]) for frame in frames]
    assert [one.level for one in found] == ["bright", "dark", None]
    assert found[0].levels == pytest.approx({"bright": 50, "dark": -20}, abs=1e-3)
    assert found[1].levels == pytest.approx({"bright": 0, "dark": 20}, abs=1e-3)
    assert found[1].level_map() == pytest.approx(np.full((side, side), 40), abs=1e-3)


def test_a_method_that_shows_none_and_a_fusion_that_names_none(made):
    made.method.model = Level
    made.export()
    entry = Bundle(made.bundle).manifest().tasks[NAMES[0]]
    assert entry.levels == [*LEVELS]
    assert entry.certificate.levels_max is entry.certificate.level_maps_max is None


def test_an_engine_without_levels_names_none(made):
    made.fusion.outputs = OUTPUTS[:2]
    made.export()
    manifest = next((made.bundle / "manifests").iterdir()).read_text()
    assert '"levels' not in manifest and '"level_maps' not in manifest


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "gives 'levels', and the manifest names no level of task 'checks'"),
        (("bright",), r"gives 'levels' as float32 of shape \(1, 2\) where"),
        (("bright", "bright"), "WithLevelsFusion are 'bright', 'bright', and every level needs a"),
    ],
)
def test_what_no_device_would_open_is_not_written(made, names, said):
    made.fusion.level_names = names
    with pytest.raises(CadEdgeError, match=said):
        made.export()
    assert not (made.bundle / "bundle.json").exists()


@pytest.mark.parametrize("wrong", [(0.1, 0.0), (0.0, 0.1), (float("nan"), 0.0)])
def test_levels_that_torch_does_not_give_are_not_written(made, wrong):
    made.fusion.wrong = wrong
    with pytest.raises(CertificateError, match=r"does not answer as torch did .* levels by "):
        made.export()
    assert not (made.bundle / "bundle.json").exists()


def test_levels_of_torch_that_are_no_numbers_are_not_written(made):
    made.method.model = type("Broken", (WithLevels,), {"factor": float("nan")})
    with pytest.raises(ArtifactError, match="its own model answers with values that are no"):
        made.export()


TASK = SimpleNamespace(
    witness={"image": np.zeros((2, 4, 4, 3))}, artifact=SimpleNamespace(task="tray")
)


def test_differences_are_fractions_of_the_witnesses_range_or_of_larger_values():
    """Two witnesses with levels from -1 to 3, and a third image of up to 40."""
    expected = np.float32([[3, 1], [0, -1], [40, 2]])
    got = expected + np.float32([[0.2, 0], [0, 0], [0, 4.8]])
    found = level_differences(TASK, LevelAnswers(expected, None), LevelAnswers(got, None))
    # .2 of 3 - (-1) is .05, and 4.8 of 40 is .12.
    assert found == {"levels_max": pytest.approx(0.12)}


def test_every_level_has_maps_of_its_own_range():
    """The second level's maps reach .5 and the first one's 100: .1 is little there, much here."""
    maps = np.zeros((2, 2, 2, 2), np.float32)
    maps[0, 0, 0, 0], maps[1, 1, 1, 1] = 100, 0.5
    levels = np.float32([[1, 0], [0, 1]])
    for level, share in ((0, 0.001), (1, 0.2)):
        moved = maps.copy()
        moved[:, level] += np.float32(0.1)
        found = level_differences(TASK, LevelAnswers(levels, maps), LevelAnswers(levels, moved))
        assert found == {"levels_max": 0.0, "level_maps_max": pytest.approx(share, rel=1e-4)}


def test_other_numbers_of_levels_are_refused_with_a_sentence():
    maps = np.zeros((2, 2, 4, 4), np.float32)
    levels = np.zeros((2, 2), np.float32)
    right = LevelAnswers(levels, maps)
    for wrong in (LevelAnswers(levels[:, :1], maps), LevelAnswers(levels, maps[..., :2])):
        with pytest.raises(CertificateError, match=r"task tray: .* levels of shape \(2, .*torch"):
            level_differences(TASK, right, wrong)
    assert level_differences(TASK, None, right) == level_differences(TASK, right, None) == {}


def two_levels(anomaly_map: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give a map and its negative as maps of levels, and the peaks of both."""
    maps = torch.stack([anomaly_map, -anomaly_map], dim=1)
    return maps.amax(dim=(2, 3)), maps


class WithLevelsHead(PatchMemoryHead):
    """A head that gives its map as one of two levels, too."""

    outputs = OUTPUTS

    def judge(self, states, tensors):
        score, anomaly_map = super().judge(states, tensors)
        return score, anomaly_map, *two_levels(anomaly_map)


class WithLevelsScoringFusion(PatchMemoryFusion):
    """Its fusion."""

    head, level_names = WithLevelsHead, ("high", "low")


@pytest.mark.parametrize("layout", ["shared", "fused"])
def test_a_scoring_head_gives_what_it_says_in_both_layouts(tiny, dinov2, layout):
    task = read_artifact(tiny / NAMES[0])
    backbone = load_backbone(f"dinov2:{dinov2}", 56)
    fusion = WithLevelsScoringFusion()
    told, plain = (
        getattr(one, layout)(task, backbone, "fp32") for one in (fusion, PatchMemoryFusion())
    )
    assert told.stages[-1].outputs == OUTPUTS and plain.stages[-1].outputs == OUTPUTS[:2]
    assert names_of_levels(fusion, told) == ["high", "low"]
    assert names_of_levels(fusion, plain) == []
    images = task.witness["image"]
    found, before = (
        run_chain(one, [to_onnx(stage) for stage in one.stages], images) for one in (told, plain)
    )
    assert np.array_equal(found.score, before.score) and before.levels is None
    maps = found.levels.level_maps
    assert maps.shape == (len(images), 2, 56, 56) and np.array_equal(maps[:, 0], found.anomaly_map)
    assert np.array_equal(found.levels.levels[:, 1], -found.anomaly_map.min(axis=(1, 2)))


class WithLevelsPadim(PadimHead):
    """PaDiM's head with two levels of one map."""

    outputs = OUTPUTS

    def judge(self, states, tensors):
        score, anomaly_map = super().judge(states, tensors)
        return score, anomaly_map, *two_levels(anomaly_map)


def test_eight_bits_say_by_how_much_levels_move(products, tmp_path, monkeypatch):
    """Nothing is refused for them: the evidence is that of the score."""
    built = padim_method.METHOD.build_model

    def telling(backbone, config, tensors):
        model = built(backbone, config, tensors)
        model.levels = lambda images: two_levels(model(images)[1])
        return model

    monkeypatch.setattr(padim_method.METHOD, "build_model", telling)
    fusion = type(
        "WithLevels", (PaDiMFusion,), {"head": WithLevelsPadim, "level_names": ("high", "low")}
    )
    monkeypatch.setattr(padim, "FUSION", fusion())
    learn(stream_of(products, NAMES[:1]), tmp_path / "made", method="padim", options=SMALL_PADIM)
    plan = ExportPlan(precision="uint8", calibration=products / f"{NAMES[0]}.json")
    export_folder(tmp_path / "made", tmp_path / "bundle", plan, quiet)
    entry = Bundle(tmp_path / "bundle").manifest().tasks[NAMES[0]]
    proof = entry.certificate
    assert entry.levels == ["high", "low"] and proof.tolerance is None
    assert 1e-6 < proof.levels_max < 0.5 and 1e-6 < proof.level_maps_max < 0.5
    part = products / NAMES[0] / "test" / "blot" / "000.png"
    with Detector.open(tmp_path / "bundle", device="cpu", watch=False) as detector:
        found = detector.detect(part, task=NAMES[0])
    assert found.level == "high" and found.level_share == 1.0
    assert found.levels["high"] == pytest.approx(float(found.anomaly_map.max()))
