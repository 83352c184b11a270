"""The rest of the tower behind the entry, and the projector: what the language model sees."""

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.store.artifact import Tensors
from cad_edge_export.fused_task import ModulePrecision
from cad_edge_training.backbones.llava import LlavaBase

PROJECTOR = "projector/"
"""How the names of a learned projector begin in shared weights."""


def pack_projector(learned: Tensors) -> Tensors:
    """Weights of a projector that was learned as ``projector_<name>``; empty where none was."""
    return {
        _packed(name.removeprefix(PROJECTOR)): np.array(value)
        for name, value in sorted(learned.items())
        if name.startswith(PROJECTOR)
    }


def _packed(name: str) -> str:
    return f"projector_{name.replace('.', '_')}"


class VisionModule(nn.Module):
    """hidden -> tokens (batch, n_patches + 1, width) and anchor (batch, vision_width), float32."""

    def __init__(
        self, base: LlavaBase, entry: int, precision: ModulePrecision, learned: tuple[str, ...]
    ) -> None:
        """Take the part of the tower behind block ``entry``.

        Parameters
        ----------
        base
            In the right precision, norms folded.
        entry
            Block whose hidden state comes in.
        precision
            Of the network.
        learned
            Weights of the projector that the task binds, as `pack_projector` names them and in the
            order in which they come.
        """
        super().__init__()
        self.base, self.entry, self.precision = base, entry, precision
        known = {_packed(name): name for name, _ in base.projector.named_parameters()}
        self.learned = tuple(known[name] for name in learned)

    def forward(self, hidden: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the rest of the tower and project its tokens."""
        raw = self._raw(hidden)
        projector = dict(zip(self.learned, values, strict=True))
        inner = raw.half() if self.precision == "fp16" else raw
        projected = torch.func.functional_call(self.base.projector, projector, (inner,))
        newline = self.base.image_newline.expand(raw.shape[0], 1, -1)
        return torch.cat((projected, newline), dim=1).float(), raw.mean(dim=1)

    def _raw(self, hidden: Tensor) -> Tensor:
        """Tokens (batch, n_patches, vision_width) of the tower, float32."""
        base, states = self.base, {self.entry: hidden}
        inner = hidden.half() if self.precision == "fp16" else hidden
        for index in range(self.entry + 1, max(base.token_blocks) + 1):
            inner = base.block(index, inner)
            states[index] = inner.float()
        return base.tower_tokens(states)
