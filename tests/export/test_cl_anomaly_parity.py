"""CL-Anomaly fused is the paper's equations, and ONNX Runtime answers as torch does."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cad_edge.store.artifact import LearnedTask
from cad_edge_export.certificate import run_chain
from cad_edge_export.fused_task import FusedTask
from cad_edge_export.fusions import load_fusion
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.config import Config
from tests.export.expert_samples import (
    difference,
    every_image,
    reference,
    run_modules,
    sharing_tasks,
)

ROUTINGS = ("soft", "hard", "selector")
LAYOUTS = ("shared", "fused")
NATURAL = 12  # frames of products among the images; the others are adversarial
OTHERS = {
    "moe": {"variant": "moe", "budget": 5},
    "sequential": {"variant": "sequential", "budget": 2},
    "private alone": {"shared_path": False},
    "known expert alone": {"shared_path": False, "routing": "selector"},
    "shared alone": {"private_path": False},
    "one shared expert": {"shared_experts": 1, "private_weight": 0.3},
    "own projector": {"train_projector": True, "routing": "hard", "scale": 1.5},
}


@dataclass(frozen=True)
class Case:
    """A task of tasks with shared weights, in the middle of it where there is one."""

    base: LlavaBase
    task: LearnedTask
    images: np.ndarray
    expected: np.ndarray

    @classmethod
    def of(cls, base: LlavaBase, options: dict, count: int) -> "Case":
        task = sharing_tasks(base, Config.model_validate(options), count)[count // 2]
        images = every_image(base)
        return cls(base, task, images, reference(base, task, images))

    def fused(self, layout: str) -> FusedTask:
        return load_fusion("cl_anomaly", layout)(self.task, self.base, "fp32")

    def agrees(self, scores: np.ndarray, tolerance: float) -> None:
        worst = difference(scores, self.expected, NATURAL)
        assert worst <= tolerance, f"differs by {worst:.2g}"
        assert ((scores > 0) == (self.expected > 0)).all()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("routing", ROUTINGS)
def test_fused_forms_are_the_reference_model(either_base, routing, count):
    case = Case.of(either_base, {"routing": routing}, count)
    found = {layout: run_modules(case.fused(layout), case.images) for layout in LAYOUTS}
    for out in found.values():
        case.agrees(out["score"], 1e-5)
        np.testing.assert_allclose(out["probability"], 1 / (1 + np.exp(-out["score"])), rtol=1e-5)
    logits = found["shared"]["logits"]
    np.testing.assert_allclose(logits[:, 0] - logits[:, 1], found["shared"]["score"], rtol=1e-6)


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_every_composition_is_the_reference_model(either_base, options):
    case = Case.of(either_base, options, 2)
    for layout in LAYOUTS:
        case.agrees(run_modules(case.fused(layout), case.images)["score"], 1e-5)


@pytest.mark.parametrize(("routing", "layout"), [("hard", "shared"), ("selector", "fused")])
def test_onnx_runtime_answers_as_torch(siglip_base, graph_of, routing, layout):
    """In the shared layout by the graphs of the first task, which serve all that follow.

    Soft routing is that of the bundles in test_cl_anomaly_bundle.py and, with drawn experts, of
    test_language_explainer.py, where an expert that the selector has chosen is bound, too.
    """
    case, first = (Case.of(siglip_base, {"routing": routing}, count) for count in (3, 1))
    fused = case.fused(layout)
    stages = first.fused(layout).stages if layout == "shared" else fused.stages
    keys = [stage.shared_key for stage in stages]
    assert keys == [stage.shared_key for stage in fused.stages]
    assert (None in keys) == (layout == "fused")
    graphs = [graph_of(stage) for stage in stages]
    whole = run_chain(fused, graphs, case.images)
    assert whole.anomaly_map is None
    case.agrees(whole.score, 1e-4)
    single = run_chain(fused, graphs, case.images[2:3])
    assert abs(float(single.score[0] - whole.score[2])) <= 1e-4 * np.ptp(case.expected[:NATURAL])


def test_a_known_expert_is_within_the_weights(siglip_base):
    """And the text before the image is not read again; another task's graph is another."""
    tasks = sharing_tasks(siglip_base, Config(routing="selector"), 2)
    modules = [
        load_fusion("cl_anomaly", "fused")(task, siglip_base, "fp32").stages[0].module
        for task in tasks
    ]
    for module in modules:
        assert not any("private" in name for name in module.constants)
        assert module.decision.past is not None
        before = module.decision.past[0][0].shape[2]
        assert before == len(siglip_base.prompt(Config().question).before)
    one, other = (module.decision.decoder.layers[0].linears["q"].weight for module in modules)
    original = siglip_base.language.get_parameter("layers.0.self_attn.q_proj.weight").T
    assert not torch.equal(one, original) and not torch.equal(one, other)


def test_selector_engine_binds_its_own_expert_alone(siglip_base):
    tasks = sharing_tasks(siglip_base, Config(routing="selector"), 3)
    found = [load_fusion("cl_anomaly", "shared")(task, siglip_base, "fp32") for task in tasks]
    assert all(len(one.joint) == 1 for one in found)
    assert all(value.shape[0] == 1 for value in found[1].tensors.values())
    alone = load_fusion("cl_anomaly", "shared")(
        sharing_tasks(siglip_base, Config(routing="selector"), 1)[0], siglip_base, "fp32"
    )
    for name, value in alone.tensors.items():
        np.testing.assert_array_equal(value, found[0].tensors[name])
