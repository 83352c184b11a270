"""CDAD's fast network is the network, and its graphs are plain ones."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from cad_edge.errors import OptionError
from cad_edge.store.artifact import LearnedTask, read_artifact, with_sharing_tasks
from cad_edge_export.certificate import reference_model, run_chain
from cad_edge_export.fused_task import FusedTask
from cad_edge_export.fusions import fusion_of
from cad_edge_export.fusions.cdad.feature_parts import ReconstructionScore
from cad_edge_export.fusions.cdad.fusion import entry, fused, shared
from cad_edge_export.graph_files import GRAPH, Graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_runtime.operators import RULES
from cad_edge_training.backbones import load_backbone
from cad_edge_training.gaussian import smooth
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.patch_memory.config import Config as PatchMemoryConfig
from cad_edge_training.methods.patch_memory.config import defaults_for as default_options
from tests.export.cdad_samples import OPTIONS
from tests.training.small_products import LITE0, learn, stream_of, texture

STEPS = {"unrolled": 2, "chained": 6}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(LITE0, 64)


@pytest.fixture(scope="module")
def task(products, tmp_path_factory) -> LearnedTask:
    """A first product, whose sampler takes two steps."""
    out = tmp_path_factory.mktemp("cdad")
    learn(stream_of(products, ("waves",)), out, OPTIONS, method="cdad")
    return with_sharing_tasks([read_artifact(out / "waves")])[0]


def with_options(task: LearnedTask, **changed: object) -> LearnedTask:
    """The same network with other options of its sampler."""
    options = {**task.artifact.hyperparameters, **changed}
    return replace(task, artifact=task.artifact.model_copy(update={"hyperparameters": options}))


def exported(fused_task: FusedTask) -> list[Graph]:
    """Graphs of all stages, made once for equal keys."""
    known: dict[str, Graph] = {}
    for stage in fused_task.stages:
        assert stage.shared_key is not None
        if stage.shared_key not in known:
            known[stage.shared_key] = to_onnx(stage)
    return [known[str(stage.shared_key)] for stage in fused_task.stages]


@pytest.fixture(scope="module", params=STEPS)
def engine(request, task, backbone) -> tuple[LearnedTask, FusedTask, list[Graph]]:
    """Task, stages and graphs of an engine with few and with many steps."""
    learned = with_options(task, steps=STEPS[request.param])
    stages = shared(learned, backbone, "fp32")
    return learned, stages, exported(stages)


@pytest.fixture(scope="module")
def images(backbone) -> np.ndarray:
    """Three parts, (3, 64, 64, 3) uint8."""
    rng = np.random.default_rng(5)
    return np.stack([backbone.recipe.apply(texture("waves", rng)) for _ in range(3)])


def test_verdict_by_hand(task, backbone):
    """Of 16 cells 30 % are five: the mean of the five largest distances."""
    model = reference_model(with_options(task, share=0.3), backbone)
    latents, restored = torch.randn(2, 16, 4, 4), torch.randn(2, 16, 4, 4)
    score, located = ReconstructionScore(model)(latents, restored)
    cells = np.linalg.norm((latents - restored).numpy(), axis=1)
    expected = np.sort(cells.reshape(2, -1))[:, -5:].mean(axis=1)
    np.testing.assert_allclose(score.numpy(), expected, rtol=1e-5)
    smoothed = smooth(torch.from_numpy(cells), (64, 64), model.config.smoothing)
    np.testing.assert_allclose(located.numpy(), smoothed.numpy(), rtol=1e-4)


class TestEngine:
    def test_it_answers_as_torch(self, engine, backbone, images):
        learned, stages, graphs = engine
        with torch.inference_mode():
            score, located = reference_model(learned, backbone)(torch.from_numpy(images))
        found = run_chain(stages, graphs, images)
        np.testing.assert_allclose(found.score, score.numpy(), rtol=1e-5)
        np.testing.assert_allclose(found.anomaly_map, located.numpy(), rtol=1e-5)

    def test_a_batch_is_its_frames_one_by_one(self, engine, images):
        _, stages, graphs = engine
        both = run_chain(stages, graphs, images[:2])
        for number in range(2):
            alone = run_chain(stages, graphs, images[number : number + 1])
            np.testing.assert_allclose(both.score[number], alone.score[0], rtol=1e-6)
            assert alone.anomaly_map is not None and both.anomaly_map is not None
            np.testing.assert_allclose(both.anomaly_map[number], alone.anomaly_map[0], rtol=1e-5)

    def test_equal_frames_give_equal_bytes_and_other_noise_another_score(self, engine, images):
        _, stages, graphs = engine
        first, again = (run_chain(stages, graphs, images) for _ in range(2))
        assert first.score.tobytes() == again.score.tobytes()
        assert first.anomaly_map is not None and again.anomaly_map is not None
        assert first.anomaly_map.tobytes() == again.anomaly_map.tobytes()
        other = replace(stages, tensors={**stages.tensors, "noise": -stages.tensors["noise"]})
        assert not np.allclose(run_chain(other, graphs, images).score, first.score, rtol=1e-5)

    def test_operators_are_those_that_the_device_allows(self, engine):
        models = [onnx.load_from_string(graph[GRAPH]) for graph in engine[2]]
        for model in models:
            onnx.checker.check_model(model, full_check=True)
        kinds = {node.op_type for model in models for node in model.graph.node}
        assert kinds <= RULES.keys()
        assert not kinds & {"If", "Loop", "NonZero", "Scan", "Shape", "Sin", "Cos", "Resize"}

    def test_the_network_is_in_a_graph_once_and_that_of_time_in_none(self, engine):
        learned, _, graphs = engine
        unet = {
            name.removeprefix("network/unet."): value
            for name, value in learned.model_tensors().items()
            if name.startswith("network/unet.") and value.ndim > 1
        }
        time = {name for name in unet if name.startswith("time.")}
        assert len(time) == 2 + 5 and len(unet) > len(time)
        once = b"".join({graph[GRAPH]: None for graph in graphs})
        for name, value in unet.items():
            assert once.count(value.tobytes()) == (name not in time), name
            if name in time:
                assert value.T.tobytes() not in once

    def test_no_two_inputs_share_an_example(self, engine):
        for stage in engine[1].stages:
            places = [item.example.data_ptr() for item in stage.inputs]
            assert len(set(places)) == len(places)


@pytest.mark.parametrize(("steps", "stages"), [(1, 2), (4, 2), (5, 8), (10, 13)])
def test_up_to_four_steps_are_one_graph_and_more_are_a_chain_of_one(task, backbone, steps, stages):
    found = shared(with_options(task, steps=steps), backbone, "fp32")
    assert len(found.stages) == stages
    assert len({stage.shared_key for stage in found.stages}) == min(stages, 4)
    bound = {"noise"}
    if steps > 4:
        bound |= {f"{name}.{k}" for name in ("biases", "keep", "take") for k in range(steps)}
    assert set(found.tensors) == bound


def test_steps_that_are_too_many_are_refused(task, backbone):
    with pytest.raises(
        OptionError, match="one graph can hold 20 at most; learn with fewer steps, or"
    ):
        fused(with_options(task, steps=21), backbone, "fp32")
    many = with_options(task, steps=901, first_time=999)
    with pytest.raises(OptionError, match="an engine can have 900 at most"):
        shared(many, backbone, "fp32")


def test_entry_is_that_of_the_default_method(task, backbone):
    """One routing serves all methods of a bundle."""
    own = Config.model_validate(task.artifact.hyperparameters)
    other = PatchMemoryConfig.model_validate(default_options(LITE0))
    default = fusion_of("patch_memory").entry(backbone, other, "fp32")
    assert entry(backbone, own, "fp32").shared_key == default.shared_key


def test_a_graph_has_the_name_of_its_weights_and_precision(task, backbone):
    keys = {
        str(shared(one, backbone, precision).stages[-1].shared_key)
        for one in (task, with_options(task, share=0.5))
        for precision in ("fp32", "fp16")
    }
    assert len(keys) == 4
