"""Oracles of METHODS 8 (004) and hand-worked values for the parts of IB-IUMAD."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.frozen import depth_as_image, share_measured
from cad_edge_training.methods.ib_iumad.fusion import Bottleneck, ModalityFusion
from cad_edge_training.methods.ib_iumad.losses import class_loss, divergence
from cad_edge_training.methods.ib_iumad.mamba import (
    ES2D,
    LabelBranch,
    MambaBlock,
    merge_quarters,
    split_quarters,
)
from cad_edge_training.methods.ib_iumad.network import COMPRESSED, FUSED, Network
from cad_edge_training.methods.ib_iumad.reconstruction import (
    Attention,
    EncoderLayer,
    ReconstructionNetwork,
)
from cad_edge_training.methods.ib_iumad.scan import (
    doubling_scan,
    read_in_blocks,
    read_in_turn,
    sequential_scan,
)
from cad_edge_training.methods.ib_iumad.training_loop import jittered

SMALL = Config(width=16, layers=2, heads=2, inner=24, states=4, dropout=0.1)


def count(module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.fixture
def seeded():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def test_scan_by_hand():
    a = torch.tensor([9.0, 0.5, 2.0, 0.0])
    b = torch.tensor([1.0, 3.0, -1.0, 4.0])
    # 1; 0.5 * 1 + 3; 2 * 3.5 - 1; 0 * 6 + 4. What a is at the beginning does not matter.
    expected = torch.tensor([1.0, 3.5, 6.0, 4.0])
    for scan in (sequential_scan, doubling_scan):
        torch.testing.assert_close(scan(a, b), expected)


@pytest.mark.parametrize("length", [1, 2, 7, 49, 64, 196])
def test_doubling_is_the_sequential_scan(length, seeded):
    a = torch.rand(length, 3, 5, dtype=torch.float64)
    b = torch.randn(length, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(doubling_scan(a, b), sequential_scan(a, b), rtol=0, atol=1e-13)


@pytest.mark.parametrize("length", [1, 2, 7, 48, 49, 50, 196])
def test_reading_in_blocks_is_reading_in_turn(length, seeded):
    drawn = {"dtype": torch.float64}
    # Up to 30, where softplus is its argument and torch's own form says so from 20 on.
    logits = 30 * torch.randn(4, 2, length, 5, **drawn)
    x = torch.randn(4, 2, length, 5, **drawn)
    enter, leave = torch.randn(4, 2, length, 3, **drawn), torch.randn(4, 2, length, 3, **drawn)
    decay = -torch.rand(4, 5, 3, **drawn)
    expected = read_in_turn(logits, x, enter, leave, decay)
    found = read_in_blocks(logits, x, enter, leave, decay)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_gradient_of_the_scan(seeded):
    a = torch.rand(6, 2, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sequential_scan, (a, b))


def test_order_of_the_quarters():
    grid = torch.arange(16.0).reshape(1, 4, 4, 1)
    found = split_quarters(grid)[:, 0, :, 0].tolist()
    # Cells are numbered row by row: 0 2 8 10 lie on even rows and columns.
    assert found == [[0, 2, 8, 10], [4, 12, 6, 14], [1, 3, 9, 11], [5, 13, 7, 15]]


@pytest.mark.parametrize("size", [(2, 2), (4, 6), (14, 14)])
def test_merge_undoes_split(size, seeded):
    grid = torch.randn(2, *size, 3)
    assert torch.equal(merge_quarters(split_quarters(grid), *size), grid)


def test_odd_grid_is_the_even_one_with_zeros(seeded):
    module = ES2D(8, 4)
    seen = []
    module.norm.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    grid = torch.randn(1, 5, 7, 8)
    assert module(grid).shape == grid.shape
    content = module.project_in(grid).chunk(2, dim=-1)[0].permute(0, 3, 1, 2)
    mixed = functional.silu(module.depthwise(content)).permute(0, 2, 3, 1)
    padded = torch.zeros(1, 6, 8, 16)
    padded[:, :5, :7] = mixed
    whole = merge_quarters(module.scan(split_quarters(padded)), 6, 8)
    torch.testing.assert_close(seen[0], whole[:, :5, :7])


def test_selective_scan_against_a_loop_over_everything(seeded):
    """The recurrence as Mamba states it, one direction, channel and state at a time."""
    module = ES2D(8, 3).double().requires_grad_(False)
    sequences = torch.randn(4, 2, 5, module.inner, dtype=torch.float64)
    expected = torch.zeros_like(sequences)
    for k, batch, d in np.ndindex(4, 2, module.inner):
        state = torch.zeros(3, dtype=torch.float64)
        for t in range(5):
            x = sequences[k, batch, t]
            low, enter, leave = (x @ module.selection[k]).split([module.rank, 3, 3])
            step = math.log1p(
                math.exp(float(low @ module.step_weight[k, :, d] + module.step_bias[k, d]))
            )
            decay = -torch.exp(module.log_decay[k, d])
            state = torch.exp(step * decay) * state + step * enter * x[d]
            expected[k, batch, t, d] = state @ leave + module.skip[k, d] * x[d]
    torch.testing.assert_close(module.scan(sequences), expected)
    module.read = read_in_blocks
    torch.testing.assert_close(module.scan(sequences), expected)


def test_decay_and_skip_at_the_start():
    module = ES2D(8, 16)
    torch.testing.assert_close(
        -torch.exp(module.log_decay[2, 5]), -torch.arange(1.0, 17.0), rtol=1e-6, atol=0
    )
    assert (module.skip == 1).all()
    steps = functional.softplus(module.step_bias)
    assert (steps > 0.99e-3).all() and (steps < 1.01e-1).all()


def test_parameters_of_the_papers_dimensions():
    """METHODS 0.5: 7.57 M in a reconstruction network, about 0.57 M in a Mamba decoder."""
    with torch.device("meta"):
        network = ReconstructionNetwork(272, 196, 256, 4, 8, 1024, 0.1)
        block = MambaBlock(256, 16)
    layers = count(network.encoder) + count(network.decoder)
    assert layers == 4 * 789_760 + 4 * (1_053_440 + 196 * 256) == 7_573_504
    assert round(count(block.scan) / 1e6, 2) == 0.57


def test_attention_is_torchs(seeded):
    ours = Attention(16, 4)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        parts = (ours.query, ours.key, ours.value)
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    query, key, value = torch.randn(3, 2, 7, 16)
    torch.testing.assert_close(ours(query, key, value), theirs(query, key, value)[0])


def test_condition_multiplies_the_query_alone(seeded):
    """Eq. 3 written out: q = (x + pos) * m, k = x + pos, v = x."""
    layer = EncoderLayer(8, 2, 12, 0.0)
    tokens, condition = torch.randn(2, 1, 5, 8)
    position = torch.randn(5, 8)
    placed = tokens + position
    first = layer.norms[0](tokens + layer.attention(placed * condition, placed, tokens))
    inner = torch.relu(first @ layer.feed_forward.up.weight.T + layer.feed_forward.up.bias)
    second = inner @ layer.feed_forward.down.weight.T + layer.feed_forward.down.bias
    expected = layer.norms[1](first + second)
    torch.testing.assert_close(layer(tokens, position, condition), expected)
    ones = torch.ones_like(condition)
    assert torch.equal(layer(tokens, position, ones), layer(tokens, position, None))


def test_fusions_by_hand(seeded):
    half, last = torch.randn(2, 2, 1, 5, 8).unbind(0)
    assert torch.equal(ModalityFusion("addition", 2, 8, 2)(half, last), last[0] + last[1])
    joined = torch.cat((last[0], last[1]), dim=-1)
    assert torch.equal(ModalityFusion("concatenation", 2, 8, 2)(half, last), joined)
    gated = ModalityFusion("gated", 2, 8, 2)
    share = 1 / (1 + torch.exp(-(joined @ gated.gate.weight.T + gated.gate.bias)))
    expected = share * last[0] + (1 - share) * last[1]
    torch.testing.assert_close(gated(half, last), expected)
    cross = ModalityFusion("cross_attention", 2, 8, 2)
    shallow = torch.cat((half[0], half[1]), dim=-1)
    expected = cross.norm(joined + cross.attention(joined, shallow, shallow))
    torch.testing.assert_close(cross(half, last), expected)


def test_bottleneck_by_hand(seeded):
    part = Bottleneck(6, 3, 4, 0.5).eval()
    given = torch.randn(1, 2, 6)
    inner = (given @ part.down.weight.T + part.down.bias).clamp_min(0)
    torch.testing.assert_close(part(given), inner @ part.up.weight.T + part.up.bias)


def test_divergence_by_hand():
    """P = (3/4, 1/4) and Q = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2)."""
    fused = torch.tensor([[math.log(3.0), 0.0]], requires_grad=True)
    compressed = torch.tensor([[7.0, 7.0]], requires_grad=True)
    found = divergence(fused, compressed)
    assert found.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)
    found.backward()
    assert fused.grad is None
    # Its gradient by the logits of Q is Q - P.
    torch.testing.assert_close(compressed.grad, torch.tensor([[-0.25, 0.25]]))


def test_divergence_is_never_negative(seeded):
    fused, compressed = torch.randn(2, 200, 1, 5)
    found = [divergence(one, other).item() for one, other in zip(fused, compressed, strict=True)]
    assert min(found) >= 0
    assert divergence(fused[0], fused[0]).item() == pytest.approx(0, abs=1e-7)


def test_class_loss_trains_both_heads_of_the_divergence(seeded):
    logits = {FUSED: torch.randn(3, 4, requires_grad=True)}
    logits[COMPRESSED] = torch.randn(3, 4, requires_grad=True)
    labels = torch.tensor([0, 3, 1])
    loss = class_loss(logits, labels)
    picked = [-one.log_softmax(dim=1)[range(3), labels].mean() for one in logits.values()]
    expected = sum(picked) + divergence(logits[FUSED], logits[COMPRESSED])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    assert all(one.grad.abs().sum() > 0 for one in logits.values())


def test_growth_keeps_old_logits(seeded):
    network = Network(SMALL, 6, 4, 3).eval()
    tokens = {"rgb": torch.randn(2, 4, 6), "depth": torch.randn(2, 4, 6)}
    found = network(tokens, tokens)
    before = network.logits(found)
    assert set(before) == {"rgb", "depth", FUSED, COMPRESSED}
    network.grow(5)
    after = network.logits(network(tokens, tokens))
    for name, logits in before.items():
        assert after[name].shape == (2, 5)
        torch.testing.assert_close(after[name][:, :3], logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("detach", [True, False])
def test_conditions_are_shaped_by_the_class_loss_alone(detach, seeded):
    config = SMALL.model_copy(update={"detach_conditions": detach})
    network = Network(config, 6, 4, 3)
    tokens = {"rgb": torch.randn(2, 4, 6), "depth": torch.randn(2, 4, 6)}
    network(tokens, tokens).features.sum().backward()
    gradients = [value.grad for value in network.branches.parameters() if value.grad is not None]
    assert bool(gradients) is not detach


@pytest.mark.parametrize(
    ("options", "width", "heads"),
    [
        ({}, 32, {"rgb", "depth", FUSED, COMPRESSED}),
        ({"mamba": False}, 32, {FUSED, COMPRESSED}),
        ({"bottleneck": False}, 32, {"rgb", "depth", FUSED, COMPRESSED}),
        ({"divergence": False}, 32, {"rgb", "depth"}),
        ({"mamba": False, "divergence": False}, 32, set()),
        ({"fusion": "addition"}, 16, {"rgb", "depth", FUSED, COMPRESSED}),
        ({"modality": "rgb"}, 16, {"rgb", FUSED, COMPRESSED}),
        ({"modality": "depth", "fusion": "gated"}, 16, {"depth", FUSED, COMPRESSED}),
    ],
)
def test_ablations_drop_what_they_say(options, width, heads, seeded):
    config = Config.model_validate(SMALL.model_dump() | options)
    network = Network(config, 6, 4, 3)
    assert network.fusion.width == width
    tokens = {name: torch.randn(2, 4, 6) for name in config.modalities}
    found = network(tokens, tokens)
    assert set(network.logits(found)) == heads
    assert found.features.shape == (2, 4, 6 * len(config.targets))
    assert bool(network.branches) is config.mamba


def test_label_branch_gives_a_condition_for_every_layer(seeded):
    branch = LabelBranch(6, 8, 3, 4)
    found = branch(torch.randn(2, 16, 6))
    assert [one.shape for one in found] == [(2, 16, 8)] * 3
    # Each block goes on from the one before.
    grid = found[0].unflatten(1, (4, 4))
    torch.testing.assert_close(branch.blocks[1](grid).flatten(1, 2), found[1])


def test_noise_is_as_large_as_uniad_says(seeded):
    tokens = torch.full((4, 5000, 16), 3.0)
    noise = jittered(tokens, 20.0) - tokens
    # ||f|| = 3 * 4, over 16 channels, times 20.
    assert noise.std().item() == pytest.approx(15.0, rel=0.01)


def test_depth_is_never_read_where_nothing_was_measured():
    depth = torch.full((1, 32, 32), 500.0)
    depth[:, :, 16:] = 600.0
    depth[:, 4:8, 4:8] = 0.0
    values, measured = depth_as_image(depth, torch.tensor([500.0, 600.0]))
    # The range takes up the middle four fifths.
    assert values[0, 20, 2].item() == pytest.approx(25.5)
    assert values[0, 20, 30].item() == pytest.approx(229.5)
    # Near a wall of one depth, what is missing is that depth and neither near nor far.
    assert values[0, 5, 5].item() == pytest.approx(25.5, abs=0.1)
    assert measured.sum().item() == 32 * 32 - 16
    assert share_measured(measured)[0].tolist() == pytest.approx([1 - 16 / 256, 1, 1, 1])


def test_depth_beyond_the_range_is_cut():
    depth = torch.tensor([[[1.0, 400.0], [700.0, 550.0]]])
    values, _ = depth_as_image(depth, torch.tensor([500.0, 600.0]))
    assert values[0].flatten().tolist() == pytest.approx([0, 0, 255, 127.5])


def test_hole_that_no_window_reaches_gets_the_mean():
    depth = torch.zeros(1, 64, 64)
    depth[:, :, :8] = 550.0
    values, _ = depth_as_image(depth, torch.tensor([500.0, 600.0]))
    assert values[0, 30, 60].item() == pytest.approx(127.5, abs=0.1)
