"""The fused forms are the paper's equations, and ONNX Runtime answers as torch does."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cad_edge.store.artifact import LearnedTask, read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_export.certificate import ModelAnswers, adversarial_images, run_chain
from cad_edge_export.fused_task import FusedTask
from cad_edge_export.fusions import load_fusion
from cad_edge_export.graph_files import GRAPH, Graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_runtime.operators import RULES
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.methods import load_method, saved_config
from tests.training.small_products import LITE0, SMALL, TINY, learn, spoil, stream_of, texture

# Untouched features make distances of 20, and the published slope of 1.5 turns the last digit of
# such a float32 into more than 1e-5 of a map between 0 and 1.
FLAT = {"slope": "0.02"}
PUBLISHED = {**FLAT, "blocks": "4,10", "bank_size": "24", "keys": "24", "epochs": "1"}
PROMPTS = {**PUBLISHED, "prompt_from_block": "5", "learning_rate": "0.01"}
MULTIMODAL = {
    **{**FLAT, "blocks": "2", "bank_size": "24", "keys": "8", "epochs": "1", "text_epochs": "1"},
    **{"class_name": "screw"},
}
LATE = {**MULTIMODAL, "blocks": "3", "prompt_from_block": "3", "text_layer": "last"}
RAW = {**MULTIMODAL, "normalisation": "none"}
PROMPTED_TINY = {**FLAT, "blocks": "1,2", "bank_size": "16", "keys": "8", "epochs": "1"}
EXPERTS = {"channels": "16", "rank": "4", "components": "3"}
BY_IMAGE = {**EXPERTS, "experts": "2", "routing_at": "image"}
BEST = {**BY_IMAGE, "routing": "top_k", "top_k": "3"}
DRAWN = {
    **{"start": "drawn", "form": "attention", "components": "3", "experts": "2"},
    **{"width": "16", "depth": "1", "heads": "2", "steps": "3", "warm_up": "0"},
}
DRAWN_BY_IMAGE = {**DRAWN, "routing_at": "image"}
PAIR = {**DRAWN_BY_IMAGE, "global_form": "pair", "routing": "top_k", "geometry": "false"}
DRAWN_TINY = {**DRAWN_BY_IMAGE, "groups": "1+2,3"}
# Method, backbone, size, options, and the layout that is exported here; the default is in both
# bundles.
CASES = {
    "default": ("patch_memory", LITE0, 64, SMALL, None),
    "patch memory on dinov2": ("patch_memory", "dinov2", 56, TINY, "shared"),
    "padim": ("padim", LITE0, 64, {"dimensions": "12"}, "shared"),
    "padim fused": ("padim", LITE0, 64, {"dimensions": "12"}, "fused"),
    "anomaly moe": ("anomaly_moe", LITE0, 64, EXPERTS, "shared"),
    "anomaly moe fused": ("anomaly_moe", LITE0, 64, EXPERTS, "fused"),
    "experts by image": ("anomaly_moe", LITE0, 64, BY_IMAGE, "shared"),
    "experts by image fused": ("anomaly_moe", LITE0, 64, BY_IMAGE, "fused"),
    "best experts of all": ("anomaly_moe", LITE0, 64, BEST, "shared"),
    "drawn experts": ("anomaly_moe", LITE0, 64, DRAWN, "shared"),
    "drawn experts fused": ("anomaly_moe", LITE0, 64, DRAWN, "fused"),
    "drawn experts by image": ("anomaly_moe", LITE0, 64, DRAWN_BY_IMAGE, "shared"),
    "best drawn experts of all": ("anomaly_moe", LITE0, 64, PAIR, "fused"),
    "drawn experts on dinov2": ("anomaly_moe", "dinov2", 56, DRAWN_TINY, "shared"),
    "prompts": ("cmpmb", LITE0, 64, PROMPTS, "shared"),
    "published": ("cmpmb", LITE0, 64, PUBLISHED, "fused"),
    "clip": ("cmpmb", "clip", 32, MULTIMODAL, "shared"),
    "clip without ANM": ("cmpmb", "clip", 32, RAW, "shared"),
    "clip late": ("cmpmb", "clip", 32, LATE, "fused"),
    "dinov2": ("cmpmb", "dinov2", 56, PROMPTED_TINY, "fused"),
}
LAYOUTS = ("shared", "fused")


class Case:
    """One learned task, its reference model, and images of every kind."""

    def __init__(self, folder: Path, backbone: Backbone, layout: str | None) -> None:
        self.task: LearnedTask = read_artifact(folder)
        self.backbone, self.layout = backbone, layout
        artifact = self.task.artifact
        self.method = artifact.method
        self.config = saved_config(artifact.task, self.method, artifact.hyperparameters)
        recipe = backbone.recipe
        rng = np.random.default_rng(11)
        good = [texture("stripes", rng) for _ in range(3)]
        frames = [recipe.apply(one) for one in [*good, *map(spoil, good)]]
        self.natural = np.stack(frames)
        self.images = np.concatenate([frames, adversarial_images(recipe.height, recipe.width)])

    def reference(self) -> ModelAnswers:
        """Answers of the paper's equations."""
        learn = load_method(self.method)
        model = learn.build_model(self.backbone, self.config, self.task.tensors)
        with torch.inference_mode():
            score, anomaly_map = model(torch.from_numpy(self.images))
        return ModelAnswers(score.numpy(), anomaly_map.numpy())

    def fused(self, layout: str) -> FusedTask:
        return load_fusion(self.method, layout)(self.task, self.backbone, "fp32")


def run_modules(fused: FusedTask, images: np.ndarray) -> ModelAnswers:
    """Prediction with the torch modules of the stages, bound as the graphs are."""
    values = {"frame/image": torch.from_numpy(images)}
    values |= {f"tensor/{name}": torch.from_numpy(value) for name, value in fused.tensors.items()}
    with torch.inference_mode():
        for number, stage in enumerate(fused.stages):
            out = stage.module.eval()(*(values[item.source] for item in stage.inputs))
            values |= {
                f"{number}/{name}": one for name, one in zip(stage.outputs, out, strict=True)
            }
    last = len(fused.stages) - 1
    return ModelAnswers(values[f"{last}/score"].numpy(), values[f"{last}/anomaly_map"].numpy())


def assert_close(
    got: ModelAnswers, reference: ModelAnswers, natural: int, tolerance: float
) -> None:
    """Differences as fractions of the range over natural images, or of the value if larger."""
    for name in ("score", "anomaly_map"):
        ours, expected = getattr(got, name), getattr(reference, name)
        assert ours.shape == expected.shape and ours.dtype == expected.dtype == np.float32
        known = expected[:natural]
        span = np.maximum(np.abs(expected), known.max() - known.min())
        worst = float((np.abs(ours - expected) / span).max())
        assert worst <= tolerance, f"{name} differs by {worst:.2g}"


@pytest.fixture(scope="module", params=CASES)
def case(request, products, tmp_path_factory) -> Case:
    method, name, size, options, layout = CASES[request.param]
    source = name if name == LITE0 else f"{name}:{request.getfixturevalue(name)}"
    out = tmp_path_factory.mktemp("case")
    learn(stream_of(products, ("stripes",)), out, options, source, size, method=method)
    return Case(out / "stripes", load_backbone(source, size), layout)


@pytest.fixture(scope="module")
def graphs(case, request) -> dict[str, list[Graph]]:
    """Graphs of every stage by layout, for the default out of the bundles."""
    if case.layout is not None:
        return {case.layout: [to_onnx(stage) for stage in case.fused(case.layout).stages]}
    found: dict[str, list[Graph]] = {}
    for layout in LAYOUTS:
        bundle = Bundle(request.getfixturevalue(layout))
        stages = bundle.manifest().tasks["stripes"].engine.stages
        found[layout] = [bundle.read_object(stage.graph) for stage in stages]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fused_form_is_the_reference_model(case, layout):
    got = run_modules(case.fused(layout), case.images)
    assert_close(got, case.reference(), len(case.natural), 1e-5)


def test_onnx_runtime_answers_as_torch(case, graphs):
    for layout, stages in graphs.items():
        got = run_chain(case.fused(layout), stages, case.images)
        assert_close(got, case.reference(), len(case.natural), 1e-4)


def test_operators_are_those_that_the_device_allows(graphs):
    models = [onnx.load_from_string(one[GRAPH]) for stages in graphs.values() for one in stages]
    kinds = {node.op_type for model in models for node in model.graph.node}
    assert kinds and kinds <= RULES.keys()


def test_answers_do_not_depend_on_the_batch(case, graphs):
    for layout, stages in graphs.items():
        whole = run_chain(case.fused(layout), stages, case.natural)
        single = run_chain(case.fused(layout), stages, case.natural[2:3])
        assert abs(float(single.score[0] - whole.score[2])) <= 1e-4 * np.ptp(whole.score)


def test_prompts_are_tensors_when_shared_and_inside_the_graph_when_fused(case):
    learned = {name for name in case.task.tensors if name.startswith("prompt/")}
    assert bool(learned) == (case.method == "cmpmb")
    bound = {name for name in case.fused("shared").tensors if name.startswith("prompt_")}
    assert {name.replace("_", "/") for name in bound} == learned
    fused = case.fused("fused")
    assert not fused.tensors and len(fused.stages) == 1
    assert [item.name for item in fused.stages[0].inputs] == ["image"]
