"""AMN of CDAD: masks and codes by hand, attention against an independent form."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cad_edge.errors import ArtifactError, OptionError
from cad_edge_training.methods.cdad.condition import (
    AMN,
    EncoderLayer,
    LocalEncoder,
    MaskedAttention,
    neighbour_mask,
    position_code,
)

CHANNELS, WIDTH, GRID = 4, 16, (6, 6)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        yield


def small_amn() -> AMN:
    return AMN(CHANNELS, WIDTH, GRID, heads=2, inner=20, window=3)


def latents(count: int = 2, grid: tuple[int, int] = GRID) -> Tensor:
    return torch.randn(count, CHANNELS, *grid)


def test_neighbour_mask_hides_16_28_and_49_cells_of_the_paper_s_grid() -> None:
    mask = neighbour_mask((32, 32), 7).reshape(32, 32, 32, 32)
    assert mask.sum() == 44_944
    assert [mask[cell].sum() for cell in ((0, 0), (0, 31), (31, 0), (31, 31))] == [16] * 4
    assert [mask[cell].sum() for cell in ((0, 9), (9, 0), (31, 9), (9, 31))] == [28] * 4
    assert (mask[3:29, 3:29].sum(dim=(2, 3)) == 49).all()
    # Not only as many: those around the query.
    assert mask[10, 20, 7:14, 17:24].all()
    assert not mask[10, 20, 6].any() and not mask[10, 20, :, 24].any()


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


def _attended(
    attention: MaskedAttention, tokens: Tensor, position: Tensor, mask: Tensor
) -> np.ndarray:
    """Attention of one image by loops over queries and heads, in numpy."""
    weights = {name: one.double().numpy() for name, one in attention.state_dict().items()}
    x, placed = tokens.double().numpy(), (tokens + position).double().numpy()

    def project(name: str, values: np.ndarray) -> np.ndarray:
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
        tokens = layer(tokens, position_code(GRID, WIDTH), mask)
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
