"""CDAD's fast network is the network."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional

from cad_edge_export.fusions.cdad.fast_network import (
    FastAMN,
    FastUNet,
    NearestUpsampling,
    halved,
    step_biases,
)
from cad_edge_training.group_norm import PortableGroupNorm, nearest_upsampled
from cad_edge_training.methods.cdad.condition import AMN
from cad_edge_training.methods.cdad.schedule import plan
from cad_edge_training.methods.cdad.unet import UNet

GRIDS = [(4, 4), (7, 5), (1, 6)]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("grid", GRIDS)
def test_norm_of_rows_is_that_of_groups(grid):
    norm = nn.GroupNorm(8, 24)
    norm.weight.copy_(torch.randn(24))
    norm.bias.copy_(torch.randn(24))
    x = 3 * torch.randn(5, 24, *grid) + 1
    torch.testing.assert_close(PortableGroupNorm(norm)(x), norm(x), rtol=1e-5, atol=1e-5)


def test_statistics_are_not_those_of_halves():
    """Squares of 300 are beyond a half, and a weight of 1.0003 is none."""
    norm = nn.GroupNorm(8, 16)
    norm.weight.fill_(1.0003)
    fast = halved(nn.Sequential(PortableGroupNorm(norm), nn.Linear(4, 4)))
    x = 300 * torch.randn(2, 16, 4, 4).half()
    found = fast[0](x)
    assert found.dtype == fast[1].weight.dtype == torch.float16
    assert fast[0].scale.flatten()[0] == norm.weight[0]
    torch.testing.assert_close(found.float(), norm(x.float()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("side", range(1, 33))
def test_nearest_cells_are_those_of_interpolation(side):
    before, after = ((side + 1) // 2, (side + 2) // 2), (side, side + 1)
    x = torch.randn(2, 3, *before)
    expected = functional.interpolate(x, size=after, mode="nearest")
    assert torch.equal(NearestUpsampling(before, after)(x), expected)


def test_doubled_cells_are_those_of_interpolation():
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(
        nearest_upsampled(x), functional.interpolate(x, scale_factor=2, mode="nearest")
    )


@pytest.mark.parametrize("widths", [(16,), (16, 24), (24, 16, 32)])
@pytest.mark.parametrize("grid", GRIDS)
def test_unet_predicts_the_same(grid, widths):
    unet, planned = UNet(4, widths), plan(3, 501)
    for one in unet.parameters():
        one.copy_(torch.randn_like(one) / 4)
    x, added = torch.randn(3, 4, *grid), torch.randn(3, widths[0], *grid)
    fast, tables = FastUNet(unet, grid), step_biases(unet, planned)
    assert len(tables) == 3
    for step, biases in zip(planned.steps, tables, strict=True):
        of_time = unet.time_biases(torch.tensor([step.time]))
        expected = unet(x, of_time, added)
        torch.testing.assert_close(fast(x, biases, added), expected, rtol=1e-4, atol=1e-4)
    assert not torch.equal(tables[0][0], tables[1][0])
    assert unet.middle.conv_in.bias is not None


def test_condition_is_the_same():
    amn = AMN(4, 16, (6, 5), heads=4, inner=24, window=3)
    for one in amn.parameters():
        one.copy_(torch.randn_like(one) / 3)
    z = torch.randn(3, 4, 6, 5)
    torch.testing.assert_close(FastAMN(amn)(z), amn(z)[0], rtol=1e-4, atol=1e-4)
