"""The sampler of CDAD: with networks that know the answer, and in ONNX."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from cad_edge.errors import ArtifactError
from cad_edge_export.fused_task import GraphInput, StageModule
from cad_edge_export.graph_files import GRAPH, open_graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_training.methods.cdad.condition import AMN
from cad_edge_training.methods.cdad.sampler import (
    begin,
    bias_tables,
    denoise,
    denoise_once,
    reconstruct,
)
from cad_edge_training.methods.cdad.schedule import SamplingPlan, plan
from cad_edge_training.methods.cdad.unet import UNet

CHANNELS, WIDTHS, GRID = 4, (16, 24), (6, 6)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        yield


def small_unet() -> UNet:
    return UNet(CHANNELS, WIDTHS)


def small_amn() -> AMN:
    return AMN(CHANNELS, WIDTHS[0], GRID, heads=2, inner=20, window=3)


def latents(count: int = 2) -> Tensor:
    return torch.randn(count, CHANNELS, *GRID)


@pytest.mark.parametrize("build", [small_unet, small_amn])
def test_the_seed_in_force_decides_every_weight(build: Callable[[], nn.Module]) -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return build().state_dict()

    first, again, other = drawn(5), drawn(5), drawn(6)
    for name, value in first.items():
        assert torch.equal(value, again[name])
        if value.dim() > 1:
            assert not torch.equal(value, other[name]), name


class TrueNoise(UNet):
    """A network that answers what it is given, and remembers what it was told."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__(CHANNELS, WIDTHS)
        self.answer = answer
        self.told: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, biases: tuple[Tensor, ...], added: Tensor) -> Tensor:
        self.told.append((biases[0], added))
        return self.answer.expand_as(x)


@pytest.mark.parametrize(
    ("planned", "answer"),
    [(plan(10, 901, "epsilon"), "noise"), (plan(2, 501), "z"), (plan(1, 201, "x0"), "z")],
)
def test_with_the_true_answer_latents_come_back(planned: SamplingPlan, answer: str) -> None:
    values = {"z": latents(), "noise": latents()}
    found = reconstruct(TrueNoise(values[answer]), small_amn(), **values, plan=planned)
    expected = math.sqrt(0.99915) * values["z"] + math.sqrt(0.00085) * values["noise"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_latents_noised_at_999_and_read_as_901_come_back_smaller() -> None:
    noise = latents()
    unet = TrueNoise(noise)
    planned = plan(10, 901, "epsilon", "999")
    first, second = (reconstruct(unet, small_amn(), z, noise, planned) for z in (0 * noise, noise))
    torch.testing.assert_close(second - first, 0.5766 * noise, atol=5e-4, rtol=0)


def test_amn_is_asked_once_and_the_network_at_each_time() -> None:
    z, amn = latents(), small_amn()
    unet, calls = TrueNoise(z), []
    amn.register_forward_hook(lambda _, inputs, outputs: calls.append(outputs))
    reconstruct(unet, amn, z, latents(), plan(4, 501))
    assert len(calls) == 1 and len(unet.told) == 4
    for time, (bias, added) in zip((501, 334, 168, 1), unet.told, strict=True):
        assert torch.equal(bias, unet.time_biases(torch.tensor([time]))[0])
        assert torch.equal(added, calls[0][0])


def test_a_batch_of_two_is_two_of_one_and_runs_are_equal() -> None:
    unet, amn, z, noise = small_unet(), small_amn(), latents(), latents(1)
    together = reconstruct(unet, amn, z, noise, plan(2, 501))
    for row in range(2):
        alone = reconstruct(unet, amn, z[row : row + 1], noise, plan(2, 501))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=0)
    assert torch.equal(reconstruct(unet, amn, z, noise, plan(2, 501)), together)
    assert torch.equal(
        reconstruct(unet, amn, z, noise.expand(2, -1, -1, -1), plan(2, 501)), together
    )
    assert (reconstruct(unet, amn, z, latents(1), plan(2, 501)) - together).abs().max() > 1e-4


@pytest.mark.parametrize("shape", [(1, 3, 6, 6), (1, 4, 1, 1), (4, 6, 6)])
def test_noise_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match="does not fit latents of shape"):
        begin(latents(), torch.zeros(shape), plan(2, 501))


class _Sampler(nn.Module):
    """The sampler as an exporter has it: time folded into constants."""

    def __init__(self, unet: UNet, amn: AMN, planned: SamplingPlan) -> None:
        super().__init__()
        self.unet, self.amn, self.planned = unet, amn, planned
        self.tables = bias_tables(unet, planned)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        added, _ = self.amn(z)
        return denoise(self.unet, begin(z, noise, self.planned), added, self.planned, self.tables)


class _Whole(nn.Module):
    """The sampler as training has it."""

    def __init__(self, unet: UNet, amn: AMN, planned: SamplingPlan) -> None:
        super().__init__()
        self.unet, self.amn, self.planned = unet, amn, planned

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        return reconstruct(self.unet, self.amn, z, noise, self.planned)


def _kinds(graph: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(graph).graph.node}


@pytest.mark.parametrize(
    ("form", "prediction", "start"),
    [(_Sampler, "x0", "matched"), (_Sampler, "epsilon", "999"), (_Whole, "x0", "matched")],
)
def test_two_steps_in_onnx_find_the_same(
    form: type[_Sampler] | type[_Whole], prediction: str, start: str
) -> None:
    unet, amn, planned = small_unet(), small_amn(), plan(2, 501, prediction, start)
    z, noise = latents(3), latents(1)
    inputs = (
        GraphInput("z", "0/z", z[:2], dynamic=(0,)),
        GraphInput("noise", "tensor/noise", noise),
    )
    module = form(unet, amn, planned)
    graph = to_onnx(StageModule(module, inputs, ("reconstruction",)))[GRAPH]
    assert not _kinds(graph) & {"If", "Loop", "NonZero", "Scan"}
    session = open_graph({GRAPH: graph})
    (found,) = session.run(None, {"z": z.numpy(), "noise": noise.numpy()})
    expected = reconstruct(unet, amn, z, noise, planned)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    (again,) = session.run(None, {"z": z.numpy(), "noise": noise.numpy()})
    assert found.tobytes() == again.tobytes()


class _Once(nn.Module):
    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, x: Tensor, added: Tensor, keep: Tensor, take: Tensor, *biases: Tensor
    ) -> Tensor:
        return denoise_once(self.unet, x, added, biases, keep, take)


def test_one_graph_serves_every_step() -> None:
    unet, amn, planned = small_unet(), small_amn(), plan(3, 501)
    z, noise = latents(3), latents(1)
    added, _ = amn(z)
    tables = bias_tables(unet, planned)
    inputs = [
        GraphInput("x", "0/x", z[:2], dynamic=(0,)),
        GraphInput("added", "0/added", added[:2], dynamic=(0,)),
        GraphInput("keep", "tensor/keep", torch.tensor([0.5])),
        GraphInput("take", "tensor/take", torch.tensor([0.25])),
    ]
    inputs += [GraphInput(f"b{k}", f"tensor/b{k}", one) for k, one in enumerate(tables[0])]
    session = open_graph(to_onnx(StageModule(_Once(unet), tuple(inputs), ("x_next",))))
    x = begin(z, noise, planned).numpy()
    for step, biases in zip(planned.steps, tables, strict=True):
        values = {"x": x, "added": added.numpy()}
        values |= {"keep": np.float32([step.keep]), "take": np.float32([step.take])}
        values |= {f"b{k}": one.numpy() for k, one in enumerate(biases)}
        (x,) = session.run(None, values)
    np.testing.assert_allclose(x, reconstruct(unet, amn, z, noise, planned).numpy(), atol=1e-5)
