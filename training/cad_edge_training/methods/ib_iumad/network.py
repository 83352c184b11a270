"""The trained part: label branches, reconstruction networks, fusion, bottleneck and heads."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.fusion import Bottleneck, ModalityFusion
from cad_edge_training.methods.ib_iumad.mamba import LabelBranch
from cad_edge_training.methods.ib_iumad.reconstruction import ReconstructionNetwork

Tokens = Mapping[str, Tensor]
"""(batch, n, channels) float32 by modality."""

FUSED, COMPRESSED = "fused", "compressed"
"""Heads on F_fu and on F^g."""


@dataclass(frozen=True)
class ReconstructionOutput:
    """What the network makes of tokens."""

    features: Tensor
    """(batch, n, channels of all targets), F^g."""
    fused: Tensor
    """(batch, n, fusion width), F_fu."""
    layers: Mapping[str, list[Tensor]]
    """(batch, n, width) of every decoder layer, by modality."""
    labels: Mapping[str, Tensor]
    """(batch, width), last output of the label branch pooled, by modality; empty without one."""


class Network(nn.Module):
    """All that learns; it looks at tokens of a frozen backbone."""

    def __init__(self, config: Config, channels: int, tokens: int, classes: int) -> None:
        """Draw a network for ``classes`` products and ``tokens`` tokens of ``channels`` values."""
        super().__init__()
        self.config, self.middle = config, config.layers // 2 - 1
        parts = (config.width, config.layers, config.heads, config.inner, config.dropout)
        self.branches = nn.ModuleDict(
            {
                name: LabelBranch(channels, config.width, config.layers, config.states)
                for name in (config.modalities if config.mamba else ())
            }
        )
        self.reconstructions = nn.ModuleDict(
            {name: ReconstructionNetwork(channels, tokens, *parts) for name in config.modalities}
        )
        self.fusion = ModalityFusion(
            config.fusion, len(config.modalities), config.width, config.heads
        )
        out = channels * len(config.targets)
        width = self.fusion.width
        self.restore: nn.Module = (
            Bottleneck(width, config.width, out, config.dropout)
            if config.bottleneck
            else nn.Linear(width, out)
        )
        widths = dict.fromkeys(self.branches, config.width)
        if config.divergence:
            widths |= {FUSED: width, COMPRESSED: out}
        self.heads = nn.ModuleDict(
            {name: nn.Linear(size, classes) for name, size in widths.items()}
        )

    def forward(self, seen: Tokens, disturbed: Tokens) -> ReconstructionOutput:
        """Reconstruct.

        Parameters
        ----------
        seen
            What label branches look at.
        disturbed
            What is reconstructed from: the same tokens, with noise while learning.
        """
        layers, labels = {}, {}
        for name, network in self.reconstructions.items():
            conditions: list[Tensor] = []
            if name in self.branches:
                found = self.branches[name](seen[name])
                labels[name] = found[-1].mean(dim=1)
                detach = self.config.detach_conditions
                conditions = [one.detach() for one in found] if detach else found
            layers[name] = network(disturbed[name], conditions)
        fused = self.fusion(
            [found[self.middle] for found in layers.values()],
            [found[-1] for found in layers.values()],
        )
        return ReconstructionOutput(self.restore(fused), fused, layers, labels)

    def logits(self, found: ReconstructionOutput) -> dict[str, Tensor]:
        """Class logits (batch, classes) of every head."""
        pooled = dict(found.labels)
        if FUSED in self.heads:
            pooled |= {FUSED: found.fused.mean(dim=1), COMPRESSED: found.features.mean(dim=1)}
        return {name: head(pooled[name]) for name, head in self.heads.items()}

    def grow(self, classes: int) -> None:
        """Give every head rows up to ``classes``; logits of the older ones stay as they are."""
        for name, head in list(self.heads.items()):
            assert isinstance(head, nn.Linear)
            larger = nn.Linear(head.in_features, classes)
            with torch.no_grad():
                larger.weight[: head.out_features] = head.weight
                larger.bias[: head.out_features] = head.bias
            self.heads[name] = larger
