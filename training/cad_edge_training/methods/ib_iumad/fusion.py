"""Fusion of the modalities' reconstructions and the bottleneck behind it (Eq. 4-7).

With F1 = [R2 | D2] and F2 = [R4 | D4], F_fu = CrossAtt(Q = F2, K = V = F1): what is deeper asks
what is shallower. Like every attention here it has a residual and a norm behind it. The other ways
to fuse are those of the paper's Table 6.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.methods.ib_iumad.reconstruction import Attention

FusionKind: TypeAlias = Literal["cross_attention", "addition", "concatenation", "gated"]


class ModalityFusion(nn.Module):
    """Reconstructions of one or two modalities to one, F_fu."""

    def __init__(self, kind: FusionKind, modalities: int, width: int, heads: int) -> None:
        super().__init__()
        self.kind = kind
        joined = modalities * width
        self.width = joined if kind in ("cross_attention", "concatenation") else width
        if kind == "cross_attention":
            self.attention, self.norm = Attention(joined, heads), nn.LayerNorm(joined)
        elif kind == "gated":
            self.gate = nn.Linear(joined, width)

    def forward(self, half_way: Sequence[Tensor], last: Sequence[Tensor]) -> Tensor:
        """Fuse.

        Parameters
        ----------
        half_way, last
            Decoder outputs (batch, n, width) of every modality, half-way and at the end.

        Returns
        -------
        Tensor
            (batch, n, self.width).
        """
        deep = torch.cat(tuple(last), dim=-1)
        if self.kind == "cross_attention":
            shallow = torch.cat(tuple(half_way), dim=-1)
            out: Tensor = self.norm(deep + self.attention(deep, shallow, shallow))
            return out
        if self.kind == "concatenation":
            return deep
        if self.kind == "addition" or len(last) == 1:
            return torch.stack(tuple(last)).sum(dim=0)
        share = torch.sigmoid(self.gate(deep))
        return share * last[0] + (1 - share) * last[1]


class Bottleneck(nn.Module):
    """F_fu through few channels to features, F^g (Eq. 7).

    Only the width and the dropout compress; that the divergence of the heads is 0 does not say that
    anything redundant has gone.
    """

    def __init__(self, width: int, inner: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, fused: Tensor) -> Tensor:
        """Map (batch, n, width) to (batch, n, channels)."""
        out: Tensor = self.up(self.dropout(functional.relu(self.down(fused))))
        return out
