"""Drawn experts of AnomalyMoE in ONNX, with weights bound, and with each image's own gathered."""

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from cad_edge_export.fused_task import GraphInput, StageModule
from cad_edge_export.graph_files import GRAPH, open_graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.component_expert import (
    component_error,
    draw_component,
)
from cad_edge_training.methods.anomaly_moe.drawn.global_expert import draw_global, global_error
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.patch_expert import draw_patch, patch_error
from cad_edge_training.methods.anomaly_moe.drawn.router import draw_router, route
from cad_edge_training.methods.anomaly_moe.gates import gates

LAYOUT = Layout(channels=(6, 4), grid=(4, 4), pixels=(32, 32), descriptor=5, geometry=3)


def _config(**values: object) -> Config:
    small = {"groups": ("2", "3"), "width": 8, "heads": 2, "depth": 2}
    return Config.model_validate({**small, **values})


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class _Graph(torch.nn.Module):
    """All three levels, with the weights as inputs."""

    def __init__(self, config: Config, weights: list[dict[str, Tensor]]) -> None:
        super().__init__()
        self.config = config
        self.names = [list(one) for one in weights]

    def forward(
        self, features: Tensor, pixels: Tensor, pooled: Tensor, present: Tensor, *values: Tensor
    ) -> tuple[Tensor, ...]:
        left = iter(values)
        patch, component, whole = ({name: next(left) for name in names} for names in self.names)
        return (
            patch_error(patch, features, self.config, LAYOUT),
            component_error(component, pooled, present, LAYOUT),
            global_error(whole, pixels, features),
        )


@pytest.mark.parametrize("form", ["single", "pair"])
def test_onnx_with_bound_weights_finds_the_same(form: str) -> None:
    config = _config(global_form=form)
    generator = _generator()
    weights = [
        draw_patch(config, LAYOUT, generator),
        draw_component(LAYOUT, generator),
        draw_global(config, LAYOUT, generator),
    ]
    shapes = {"features": (10, 4, 4), "pixels": (3, 32, 32), "pooled": (2, 13), "present": (2,)}
    frames = {name: torch.rand(3, *shape, generator=generator) for name, shape in shapes.items()}
    tensors = {
        f"{k}_{name}".replace(".", "_"): value
        for k, one in enumerate(weights)
        for name, value in one.items()
    }
    inputs = [GraphInput(name, f"0/{name}", one[:2], dynamic=(0,)) for name, one in frames.items()]
    inputs += [GraphInput(name, f"tensor/{name}", one) for name, one in tensors.items()]
    module = _Graph(config, weights)
    outputs = ("patch", "component", "global")
    graph = to_onnx(StageModule(module, tuple(inputs), outputs))[GRAPH]
    values = {name: one.numpy() for name, one in (frames | tensors).items()}
    session = open_graph({GRAPH: graph})
    wanted = {one.name for one in session.get_inputs()}
    found = session.run(None, {name: one for name, one in values.items() if name in wanted})
    expected = module(*frames.values(), *tensors.values())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)


class _Routed(torch.nn.Module):
    """Patch and component experts of every image, gathered from all of them."""

    def __init__(self, config: Config, weights: list[dict[str, Tensor]]) -> None:
        super().__init__()
        self.config = config
        self.names = [list(one) for one in weights]

    def forward(
        self, features: Tensor, pooled: Tensor, present: Tensor, chosen: Tensor, *values: Tensor
    ) -> tuple[Tensor, Tensor]:
        left = iter(values)
        patch, component = (
            {name: next(left).index_select(0, chosen[:, level]) for name in names}
            for level, names in enumerate(self.names)
        )
        return (
            patch_error(patch, features, self.config, LAYOUT),
            component_error(component, pooled, present, LAYOUT),
        )


def test_every_image_can_have_its_own_expert_in_onnx_too() -> None:
    config, generator = _config(), _generator()
    patches = [draw_patch(config, LAYOUT, generator) for _ in range(3)]
    components = [draw_component(LAYOUT, generator) for _ in range(3)]
    stacked = [
        {name: torch.stack([one[name] for one in experts]) for name in experts[0]}
        for experts in (patches, components)
    ]
    frames = {
        "features": torch.rand(4, 10, 4, 4, generator=generator),
        "pooled": torch.rand(4, 2, 13, generator=generator),
        "present": torch.ones(4, 2),
        "chosen": torch.tensor([[0, 1], [2, 2], [1, 0], [1, 1]]),
    }
    tensors = {
        f"{level}_{name}".replace(".", "_"): value
        for level, one in enumerate(stacked)
        for name, value in one.items()
    }
    inputs = [GraphInput(name, f"0/{name}", one[:2], dynamic=(0,)) for name, one in frames.items()]
    inputs += [GraphInput(name, f"tensor/{name}", one) for name, one in tensors.items()]
    module = _Routed(config, stacked)
    graph = to_onnx(StageModule(module, tuple(inputs), ("patch", "component")))[GRAPH]
    values = {name: one.numpy() for name, one in (frames | tensors).items()}
    found = open_graph({GRAPH: graph}).run(None, values)
    features, pooled, present, chosen = frames.values()
    for row, (patch, component) in enumerate(chosen.tolist()):
        one = slice(row, row + 1)
        alone = patch_error(patches[patch], features[one], config, LAYOUT)
        np.testing.assert_allclose(found[0][one], alone.numpy(), atol=1e-5)
        alone = component_error(components[component], pooled[one], present[one], LAYOUT)
        np.testing.assert_allclose(found[1][one], alone.numpy(), atol=1e-5)


class _Router(torch.nn.Module):
    def __init__(self, config: Config, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.config, self.names = config, list(weights)

    def forward(self, descriptors: Tensor, *values: Tensor) -> Tensor:
        router = dict(zip(self.names, values, strict=True))
        return gates(route(router, descriptors), self.config)


def test_router_and_gates_in_one_graph() -> None:
    config, generator = _config(experts=6), _generator()
    router = {name: 50 * one for name, one in draw_router(config, LAYOUT, generator).items()}
    descriptors = torch.randn(20, 5, generator=generator)
    tensors = {name.replace(".", "_"): one for name, one in router.items()}
    inputs = [GraphInput("descriptors", "0/descriptors", descriptors[:2], dynamic=(0,))]
    inputs += [GraphInput(name, f"tensor/{name}", one) for name, one in tensors.items()]
    module = _Router(config, router)
    graph = to_onnx(StageModule(module, tuple(inputs), ("gates",)))[GRAPH]
    kinds = {node.op_type for node in onnx.load_from_string(graph).graph.node}
    assert not kinds & {"If", "Loop", "NonZero"}
    values = {"descriptors": descriptors.numpy()} | {k: v.numpy() for k, v in tensors.items()}
    (found,) = open_graph({GRAPH: graph}).run(None, values)
    expected = gates(route(router, descriptors), config)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert len({tuple(row.nonzero()[0]) for row in found}) > 1
