"""What CDAD records: columns against the layers' own answers, by basis."""

import pytest
import torch
from torch import nn

from cad_edge.errors import OptionError
from cad_edge_training.methods.cdad.inputs import (
    basis_widths,
    input_columns,
    projected_layers,
    recorded_inputs,
)
from cad_edge_training.methods.cdad.second_moments import (
    SecondMoments,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def drawn(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": (3, 2), "padding": (0, 2), "stride": (2, 1)},
        {"kernel_size": (3, 4), "padding": "same", "dilation": (2, 1)},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "stride": 2},
        {"kernel_size": 1, "padding": "valid"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_a_convolution_is_its_matrix_times_the_columns(options, generator):
    layer = nn.Conv2d(3, 5, bias=False, dtype=torch.float64, **options)
    images = drawn(2, 3, 8, 7, generator=generator)
    answers = layer.weight.flatten(1) @ input_columns(layer, images)
    expected = layer(images).transpose(0, 1).flatten(1)
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(input_columns(layer, images[1]), input_columns(layer, images[1:]))


def test_a_linear_is_its_matrix_times_the_columns(generator):
    layer = nn.Linear(6, 4, bias=False, dtype=torch.float64)
    tokens = drawn(2, 5, 6, generator=generator)
    answers = layer.weight @ input_columns(layer, tokens)
    torch.testing.assert_close(answers, layer(tokens).flatten(0, 1).T, rtol=0, atol=1e-12)


class SmallAttention(nn.Module):
    """The layers of a small attention, of which queries and keys see more than values."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(3, 3) for _ in range(3))
        self.depthwise, self.norm = nn.Conv2d(3, 3, 1, groups=3), nn.LayerNorm(3)
        self.time = nn.Sequential(nn.Linear(3, 3))

    def forward(self, tokens, position):
        placed = tokens + position
        return self.query(placed), self.key(input=placed), self.value(tokens), self.time(tokens)


def test_inputs_are_recorded_by_basis_while_the_context_lasts(generator):
    network = SmallAttention()
    layers = projected_layers(network, frozen={"time"})
    assert set(layers) == {"query", "key", "value"}
    assert "time.0" in projected_layers(network)
    shared = {"query": "query_key", "key": "query_key"}
    assert basis_widths(layers, shared) == {"query_key": 3, "value": 3}
    tokens, position = drawn(2, 4, 5, 3, generator=generator).float()
    moments = SecondMoments()
    with recorded_inputs(layers, moments, shared):
        network(tokens, position)
    network(tokens * 100, position)  # after the context, so of no account
    rows, placed = tokens.flatten(0, 1).double(), (tokens + position).flatten(0, 1).double()
    assert set(moments.by_basis) == {"query_key", "value"}
    torch.testing.assert_close(moments.by_basis["value"], rows.T @ rows)
    torch.testing.assert_close(moments.by_basis["query_key"], 2 * placed.T @ placed)


def test_hooks_are_gone_after_an_error():
    network, moments = nn.Sequential(nn.Linear(2, 2)), SecondMoments()
    with pytest.raises(ZeroDivisionError), recorded_inputs(projected_layers(network), moments, {}):
        raise ZeroDivisionError
    network(torch.ones(1, 2))
    assert moments.by_basis == {}


def test_layers_of_different_widths_share_no_basis():
    layers = {"a": nn.Linear(2, 3), "b": nn.Linear(3, 3)}
    with pytest.raises(OptionError, match="b takes in 3 numbers and cannot share the basis both"):
        basis_widths(layers, {"a": "both", "b": "both"})
