"""U-Net, AMN and sampler of CDAD: by hand, by independent forms, and in ONNX."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.errors import ArtifactError, OptionError
from cad_edge_export.fused_task import GraphInput, StageModule
from cad_edge_export.graph_files import GRAPH, open_graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_training.methods.cdad.condition import (
    AMN,
    EncoderLayer,
    LocalEncoder,
    MaskedAttention,
    neighbour_mask,
    position_code,
)
from cad_edge_training.methods.cdad.sampler import (
    begin,
    bias_tables,
    denoise,
    denoise_once,
    reconstruct,
)
from cad_edge_training.methods.cdad.schedule import Plan, plan
from cad_edge_training.methods.cdad.unet import UNet, time_code

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


def latents(count: int = 2, grid: tuple[int, int] = GRID) -> Tensor:
    return torch.randn(count, CHANNELS, *grid)


def condition(count: int = 2, grid: tuple[int, int] = GRID) -> Tensor:
    return torch.randn(count, WIDTHS[0], *grid)


# U-Net


def test_default_unet_has_one_to_two_million_weights() -> None:
    unet = UNet(64)
    by_hand = 9 * (64 * 64 + 2 * 64 * 64 + 64 * 64 + 64 * 96 + 96 * 96)  # down to 7 x 7
    by_hand += 64 * 96 + 9 * 2 * 96 * 96  # shortcut, middle
    by_hand += (9 + 1) * 192 * 96 + 9 * 96 * 96 + 9 * 96 * 96  # up, and back to 14 x 14
    by_hand += (9 + 1) * 224 * 64 + 9 * 64 * 64 + 9 * 64 * 64
    weights = [one for name, one in unet.named_parameters() if not name.startswith("time.")]
    assert sum(one.numel() for one in weights if one.dim() == 4) == by_hand
    assert 1e6 < sum(one.numel() for one in unet.parameters()) < 2e6


@pytest.mark.parametrize("grid", [(14, 14), (6, 10), (13, 7), (5, 5), (2, 2)])
@pytest.mark.parametrize("widths", [(16,), (16, 24), (16, 24, 32)])
def test_unet_keeps_the_grid_even_where_it_is_odd(
    grid: tuple[int, int], widths: tuple[int, ...]
) -> None:
    unet = UNet(CHANNELS, widths)
    found = unet(latents(2, grid), unet.time_biases(torch.tensor([3])), condition(2, grid))
    assert found.shape == (2, CHANNELS, *grid)
    assert torch.isfinite(found).all() and found.std() > 0.01


def test_coarse_blocks_see_half_the_grid() -> None:
    seen: dict[str, tuple[int, ...]] = {}
    unet = UNet(CHANNELS)
    for name in ("down.0", "down.1", "middle", "up.0", "up.1"):
        unet.get_submodule(name).register_forward_hook(
            lambda _, inputs, __, name=name: seen.update({name: tuple(inputs[0].shape[1:])})
        )
    x = latents(1, (14, 14))
    unet(x, unet.time_biases(torch.tensor([3])), torch.zeros(1, 64, 14, 14))
    assert seen == {
        "down.0": (64, 14, 14),
        "down.1": (64, 7, 7),
        "middle": (96, 7, 7),
        "up.0": (192, 7, 7),
        "up.1": (96 + 64 + 64, 14, 14),
    }


def test_time_code_by_hand() -> None:
    found = time_code(torch.tensor([0, 2]), 4)
    expected = [[1, 1, 0, 0], [math.cos(2), math.cos(0.02), math.sin(2), math.sin(0.02)]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_every_image_has_its_own_time() -> None:
    unet, x, added = small_unet(), latents(), condition()
    times = torch.tensor([1, 901])
    together = unet(x, unet.time_biases(times), added)
    for row in range(2):
        one = slice(row, row + 1)
        alone = unet(x[one], unet.time_biases(times[one]), added[one])
        torch.testing.assert_close(together[one], alone, atol=1e-6, rtol=0)
    other = unet(x, unet.time_biases(times.flip(0)), added)
    assert (other - together).abs().max() > 1e-3


def test_time_biases_fold_into_those_of_convolutions() -> None:
    unet, x, added = small_unet(), latents(), condition()
    biases = unet.time_biases(torch.tensor([501]))
    expected = unet(x, biases, added)
    blocks = [*unet.down, unet.middle, *unet.up]
    for block, bias in zip(blocks, biases, strict=True):
        block.conv_in.bias += bias[0]
    torch.testing.assert_close(
        unet(x, [torch.zeros_like(bias) for bias in biases], added), expected
    )


def test_the_condition_is_added_behind_the_first_convolution_before_the_skip() -> None:
    unet, x = small_unet(), latents()
    biases = unet.time_biases(torch.tensor([501]))
    shift = torch.randn(WIDTHS[0])
    shifted = unet(x, biases, shift.reshape(1, -1, 1, 1).expand(2, -1, *GRID))
    plain = unet(x, biases, torch.zeros(2, WIDTHS[0], *GRID))
    unet.conv_in.bias += shift
    moved = unet(x, biases, torch.zeros(2, WIDTHS[0], *GRID))
    torch.testing.assert_close(shifted, moved)
    assert (plain - moved).abs().max() > 1e-2


@pytest.mark.parametrize("widths", [(8, 16), (16, 20), ()])
def test_widths_whose_norms_would_lose_the_time_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="a U-Net"):
        UNet(CHANNELS, widths)


@pytest.mark.parametrize("build", [small_unet, small_amn])
def test_the_seed_in_force_decides_every_weight(build: type[nn.Module]) -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return build().state_dict()

    first, again, other = drawn(5), drawn(5), drawn(6)
    for name, value in first.items():
        assert torch.equal(value, again[name])
        if value.dim() > 1:
            assert not torch.equal(value, other[name]), name


# AMN


def test_neighbour_mask_hides_16_28_and_49_cells_of_the_paper_s_grid() -> None:
    mask = neighbour_mask((32, 32), 7).reshape(32, 32, 32, 32)
    assert mask.sum() == 44_944
    assert [mask[cell].sum() for cell in ((0, 0), (0, 31), (31, 0), (31, 31))] == [16] * 4
    assert [mask[cell].sum() for cell in ((0, 9), (9, 0), (31, 9), (9, 31))] == [28] * 4
    assert (mask[3:29, 3:29].sum(dim=(2, 3)) == 49).all()
    # Not only as many: those around the query.
    assert mask[10, 20, 7:14, 17:24].all()
    assert torch.equal(
        mask.diagonal(dim1=0, dim2=2).diagonal(dim1=0, dim2=1), mask.new_ones(32, 32)
    )


def test_neighbour_mask_of_the_embedded_grid() -> None:
    assert neighbour_mask((14, 14), 5).sum() == 64**2  # 5 * 14 - 2 (2 + 1) pairs along each axis
    assert torch.equal(neighbour_mask((4, 5), 1), torch.eye(20, dtype=torch.bool))


@pytest.mark.parametrize("grid", [(7, 7), (6, 7), (5, 5), (1, 1)])
def test_a_window_as_large_as_the_grid_is_refused(grid: tuple[int, int]) -> None:
    assert (neighbour_mask((8, 8), 7).sum(dim=1) < 64).all()
    with pytest.raises(OptionError, match="neighbour window of 7 hides the whole grid"):
        AMN(CHANNELS, 8, grid, heads=2, window=7)


@pytest.mark.parametrize("window", [4, 0, -1])
def test_a_window_without_centre_is_refused(window: int) -> None:
    with pytest.raises(OptionError, match="has no centre: give an odd number"):
        neighbour_mask((14, 14), window)


def test_the_largest_window_leaves_finite_softmax_rows() -> None:
    for grid in ((8, 8), (6, 9)):
        amn = AMN(CHANNELS, 8, grid, heads=2, window=7)
        assert torch.isfinite(amn(latents(1, grid))[0]).all()


def test_position_code_by_hand() -> None:
    found = position_code((4, 5), 8)[2 * 5 + 3]  # row 2, column 3
    angles = (2, 0.02, 3, 0.03)
    expected = [value for angle in angles for value in (math.sin(angle), math.cos(angle))]
    torch.testing.assert_close(found, torch.tensor(expected))


def _attended(attention: MaskedAttention, tokens: Tensor, position: Tensor, mask: Tensor) -> object:
    """Attention of one image by loops over queries and heads, in numpy."""
    weights = {name: one.double().numpy() for name, one in attention.state_dict().items()}
    x, placed = tokens.double().numpy(), (tokens + position).double().numpy()

    def project(name: str, values: object) -> np.ndarray:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    q, k, v = project("query", placed), project("key", placed), project("value", x)
    size = x.shape[1] // attention.heads
    mixed = np.zeros_like(x)
    for query, head in itertools.product(range(len(x)), range(attention.heads)):
        part = slice(head * size, (head + 1) * size)
        seen = ~mask[query].numpy()
        rates = np.exp(k[seen, part] @ q[query, part] / math.sqrt(size))
        mixed[query, part] = rates @ v[seen, part] / rates.sum()
    return project("out", mixed)


def _bias(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(mask, float("-inf"))


def test_attention_is_a_mean_over_cells_that_are_not_neighbours() -> None:
    attention, mask = MaskedAttention(8, 2), neighbour_mask((4, 5), 3)
    tokens, position = torch.randn(1, 20, 8), position_code((4, 5), 8)
    found = attention(tokens, position, _bias(mask))[0]
    np.testing.assert_allclose(found, _attended(attention, tokens[0], position, mask), atol=1e-5)


def test_neighbours_change_nothing_and_others_do() -> None:
    attention, mask = MaskedAttention(8, 2), neighbour_mask((5, 5), 3)
    tokens, position = torch.randn(1, 25, 8), position_code((5, 5), 8)
    before = attention(tokens, position, _bias(mask))
    for cell in (0, 12, 18):
        changed = tokens.clone()
        changed[:, cell] += 3
        moved = (attention(changed, position, _bias(mask)) - before)[0].abs().amax(dim=1)
        unseeing = mask[:, cell].clone()
        unseeing[cell] = False  # its own query is another now
        assert moved[unseeing].max() < 1e-6 and moved[~mask[:, cell]].min() > 1e-4


def test_queries_and_keys_are_told_positions_and_values_are_not() -> None:
    attention, free = MaskedAttention(8, 2), torch.zeros(9, 9)
    tokens, position = torch.randn(1, 9, 8), position_code((3, 3), 8)
    swapped = [4, 1, 2, 3, 0, 5, 6, 7, 8]

    def follows(position: Tensor) -> bool:
        """Tell whether cells that are swapped take along their answers, unchanged."""
        before = attention(tokens, position, free)
        return torch.allclose(
            attention(tokens[:, swapped], position, free), before[:, swapped], atol=1e-5
        )

    assert not follows(position)
    assert follows(torch.zeros_like(position))
    saved = attention.query.weight.clone()
    # Without queries all cells are averaged alike: positions could show in values only.
    attention.query.weight.zero_()
    attention.query.bias.zero_()
    assert follows(position)
    torch.testing.assert_close(
        attention(tokens, position, free), attention(tokens, 0 * position, free)
    )
    # And the query's position alone, as the key's, is enough to be seen.
    attention.query.weight.copy_(saved)
    seen = {}
    for name in ("query", "key", "value"):
        getattr(attention, name).register_forward_hook(
            lambda _, inputs, __, name=name: seen.update({name: inputs[0]})
        )
    attention(tokens, position, free)
    assert torch.equal(seen["query"], tokens + position)
    assert torch.equal(seen["key"], tokens + position)
    assert torch.equal(seen["value"], tokens)


def test_layers_norm_after_the_residual() -> None:
    layer, tokens = EncoderLayer(8, 2, 12), 5 + 3 * torch.randn(2, 9, 8)
    position, free = position_code((3, 3), 8), torch.zeros(9, 9)
    found = layer(tokens, position, free)
    torch.testing.assert_close(found.mean(dim=2), torch.zeros(2, 9), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=2, correction=0), torch.ones(2, 9), atol=1e-3, rtol=0)

    def normed(x: Tensor) -> Tensor:
        return functional.layer_norm(x, (8,))

    middle = normed(tokens + layer.attention(tokens, position, free))
    expected = normed(middle + layer.down(layer.up(middle).clamp(min=0)))
    torch.testing.assert_close(found, expected)


def test_local_encoder_has_no_biases_and_ends_in_a_convolution() -> None:
    encoder, z = LocalEncoder(CHANNELS, 8, 2), latents()
    first, second = encoder.state_dict().values()
    hidden = functional.conv2d(z, first, padding=1)
    expected = functional.conv2d(hidden * torch.sigmoid(hidden), second, padding=1)
    torch.testing.assert_close(encoder(z), expected)


def test_amn_gives_its_condition_and_the_local_encoding() -> None:
    amn, z = small_amn(), latents()
    added, local = amn(z)
    torch.testing.assert_close(local, amn.local(z))
    tokens = local.flatten(2).transpose(1, 2)
    mask = _bias(neighbour_mask(GRID, 3))
    for layer in amn.non_local.layers:
        tokens = layer(tokens, position_code(GRID, WIDTHS[0]), mask)
    # Row by row: of cell (1, 2) of the grid, all channels.
    torch.testing.assert_close(added[:, :, 1, 2], tokens[:, 1 * GRID[1] + 2])


def test_constants_of_the_grid_are_no_weights_of_amn() -> None:
    assert set(small_amn().state_dict()) == set(dict(small_amn().named_parameters()))


def test_amn_refuses_what_does_not_fit() -> None:
    with pytest.raises(ArtifactError, match="learned on 6 x 6 cells and gets 6 x 7"):
        small_amn()(latents(1, (6, 7)))
    with pytest.raises(OptionError, match="3 heads do not divide the condition width 16"):
        AMN(CHANNELS, 16, GRID, heads=3)
    with pytest.raises(OptionError, match="condition width of 18 is no multiple of 4"):
        AMN(CHANNELS, 18, GRID, heads=2)


# Sampler


class Knowing(UNet):
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
def test_with_the_true_answer_latents_come_back(planned: Plan, answer: str) -> None:
    values = {"z": latents(), "noise": latents()}
    found = reconstruct(Knowing(values[answer]), small_amn(), **values, plan=planned)
    expected = math.sqrt(0.99915) * values["z"] + math.sqrt(0.00085) * values["noise"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_latents_noised_at_999_and_read_as_901_come_back_smaller() -> None:
    noise = latents()
    unet = Knowing(noise)
    planned = plan(10, 901, "epsilon", "999")
    first, second = (reconstruct(unet, small_amn(), z, noise, planned) for z in (0 * noise, noise))
    torch.testing.assert_close(second - first, 0.5766 * noise, atol=5e-4, rtol=0)


def test_amn_is_asked_once_and_the_network_at_each_time() -> None:
    z, amn = latents(), small_amn()
    unet, calls = Knowing(z), []
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


# ONNX


class _Sampler(nn.Module):
    """The sampler as an exporter has it: time folded into constants."""

    def __init__(self, unet: UNet, amn: AMN, planned: Plan) -> None:
        super().__init__()
        self.unet, self.amn, self.planned = unet, amn, planned
        self.tables = bias_tables(unet, planned)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        added, _ = self.amn(z)
        return denoise(self.unet, begin(z, noise, self.planned), added, self.planned, self.tables)


class _Whole(nn.Module):
    """The sampler as training has it."""

    def __init__(self, unet: UNet, amn: AMN, planned: Plan) -> None:
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
