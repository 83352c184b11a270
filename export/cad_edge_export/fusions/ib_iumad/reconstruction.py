"""IB-IUMAD's network for a graph: what does not depend on the frame is a constant (METHODS 5.3).

Exact rewrites: the decoder's first queries are constants; keys and values of the memory for all
decoder layers are one product; positions within a key are constants; the scale of attention lies in
the queries' weights; heads, dropout and noise are gone; the scan has no loop.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cad_edge_training.methods.ib_iumad.mamba import ES2D
from cad_edge_training.methods.ib_iumad.network import Network
from cad_edge_training.methods.ib_iumad.reconstruction import (
    Attention,
    EncoderLayer,
    ReconstructionLayer,
    ReconstructionNetwork,
    by_head,
)
from cad_edge_training.methods.ib_iumad.scan import read_in_blocks


class Affine(nn.Module):
    """x @ weight + bias, where the bias may differ from token to token."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias.detach().contiguous(), requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, n, in) to (batch, n, out)."""
        return tokens @ self.weight + self.bias


def placed_queries(attention: Attention, position: Tensor | None) -> Affine:
    """Scaled queries of tokens; with their position, if it is not to be added before."""
    linear, scale = attention.query, _scale(attention)
    bias = linear.bias if position is None else position @ linear.weight.T + linear.bias
    return Affine(linear.weight.T * scale, bias * scale)


def placed_keys_values(attentions: Sequence[Attention], position: Tensor) -> Affine:
    """Keys of x + position and values of x for every attention, side by side: k, v, k, v, ..."""
    weights, biases = [], []
    for one in attentions:
        weights += [one.key.weight.T, one.value.weight.T]
        key = position @ one.key.weight.T + one.key.bias
        biases += [key, one.value.bias.expand_as(key)]
    return Affine(torch.cat(weights, dim=1), torch.cat(biases, dim=1))


def _scale(attention: Attention) -> float:
    return float((attention.query.out_features // attention.heads) ** -0.5)


def attend(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend with scaled queries (batch or 1, n, width), keys and values (batch, n, width)."""
    q, k, v = (by_head(one, attention.heads) for one in (query, key, value))
    mixed = torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v
    out: Tensor = attention.out(mixed.transpose(1, 2).flatten(2))
    return out


class FastEncoderLayer(nn.Module):
    """`EncoderLayer` with keys and values as one product."""

    def __init__(self, layer: EncoderLayer, position: Tensor, conditioned: bool) -> None:
        super().__init__()
        self.layer = layer
        self.position = nn.Parameter(position.detach(), requires_grad=False)
        self.conditioned = conditioned
        self.queries = placed_queries(layer.attention, None if conditioned else position)
        self.keys_values = placed_keys_values([layer.attention], position)

    def forward(self, tokens: Tensor, condition: Tensor | None) -> Tensor:
        """Map tokens (batch, n, width)."""
        query = tokens if condition is None else (tokens + self.position) * condition
        key, value = self.keys_values(tokens).chunk(2, dim=-1)
        layer = self.layer
        found = attend(layer.attention, self.queries(query), key, value)
        tokens = layer.norms[0](tokens + found)
        out: Tensor = layer.norms[1](tokens + layer.feed_forward(tokens))
        return out


class FastDecoderLayer(nn.Module):
    """`ReconstructionLayer` whose first queries are constant."""

    def __init__(self, layer: ReconstructionLayer, position: Tensor) -> None:
        super().__init__()
        self.layer = layer
        first = (layer.query + position) @ layer.of_memory.query.weight.T
        first = (first + layer.of_memory.query.bias) * _scale(layer.of_memory)
        self.first = nn.Parameter(first.detach()[None], requires_grad=False)
        self.queries = placed_queries(layer.of_output, position)
        self.keys_values = placed_keys_values([layer.of_output], position)

    def forward(self, output: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map output (batch, n, width), given what the memory's keys and values are."""
        layer = self.layer
        tokens = layer.norms[0](layer.query + attend(layer.of_memory, self.first, key, value))
        key, value = self.keys_values(output).chunk(2, dim=-1)
        found = attend(layer.of_output, self.queries(tokens), key, value)
        tokens = layer.norms[1](tokens + found)
        out: Tensor = layer.norms[2](tokens + layer.feed_forward(tokens))
        return out


class FastReconstruction(nn.Module):
    """`ReconstructionNetwork` for a graph."""

    def __init__(self, network: ReconstructionNetwork, conditioned: bool) -> None:
        super().__init__()
        self.project_in, position = network.project_in, network.position
        encoder, decoder = network.layers()
        self.encoder = nn.ModuleList(
            FastEncoderLayer(layer, position, conditioned) for layer in encoder
        )
        self.decoder = nn.ModuleList(FastDecoderLayer(layer, position) for layer in decoder)
        self.memory = placed_keys_values([layer.of_memory for layer in decoder], position)

    def forward(self, tokens: Tensor, conditions: Sequence[Tensor]) -> list[Tensor]:
        """Return outputs of all decoder layers, as `ReconstructionNetwork` does."""
        memory = self.project_in(tokens)
        for number, layer in enumerate(self.encoder):
            memory = layer(memory, conditions[number] if conditions else None)
        sides = self.memory(memory).chunk(2 * len(self.decoder), dim=-1)
        output, found = memory, []
        for number, layer in enumerate(self.decoder):
            output = layer(output, sides[2 * number], sides[2 * number + 1])
            found.append(output)
        return found


class FastNetwork(nn.Module):
    """Standardised tokens of every modality -> F^g, (batch, n, channels of all targets)."""

    def __init__(self, network: Network) -> None:
        """Take a copy of a network to pieces."""
        super().__init__()
        network = copy.deepcopy(network).eval().requires_grad_(False)
        self.branches, self.middle = network.branches, network.middle
        for part in self.branches.modules():
            if isinstance(part, ES2D):
                part.read = read_in_blocks
        self.reconstructions = nn.ModuleDict(
            {
                name: FastReconstruction(part, name in network.branches)
                for name, part in network.reconstructions.items()
                if isinstance(part, ReconstructionNetwork)
            }
        )
        self.fusion, self.restore = network.fusion, network.restore

    def forward(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Reconstruct tokens (batch, n, channels) by modality."""
        half_way, last = [], []
        for name, part in self.reconstructions.items():
            conditions = self.branches[name](tokens[name]) if name in self.branches else []
            layers = part(tokens[name], conditions)
            half_way.append(layers[self.middle])
            last.append(layers[-1])
        out: Tensor = self.restore(self.fusion(half_way, last))
        return out
