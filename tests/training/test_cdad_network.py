"""The U-Net of CDAD: by hand, and against independent forms."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from cad_edge.errors import OptionError
from cad_edge_training.methods.cdad.unet import UNet, time_code

CHANNELS, WIDTHS, GRID = 4, (16, 24), (6, 6)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        yield


def small_unet() -> UNet:
    return UNet(CHANNELS, WIDTHS)


def latents(count: int = 2, grid: tuple[int, int] = GRID) -> Tensor:
    return torch.randn(count, CHANNELS, *grid)


def condition(count: int = 2, grid: tuple[int, int] = GRID) -> Tensor:
    return torch.randn(count, WIDTHS[0], *grid)


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
