"""A copy of a frozen base model that shares its weights and can be changed without touching it."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from cad_edge_training.backbones.llava import LlavaBase

PREFIX = "projector/"


def weight_sharing_copy(
    base: LlavaBase, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> LlavaBase:
    """Copy the modules of a base model, and its weights only where they have to differ.

    Parameters
    ----------
    base
        Stays as it is.
    device
        Where the copy computes; where the base is, if None, and then all weights are shared.
    dtype
        Of the language model's weights; the base's if None. The tower keeps its own, so that
        anchors are those of the device.
    """
    # deepcopy takes what is in its memo for copied, so that weights are not.
    memo: dict[int, Any] = {id(base.tokenizer): base.tokenizer}
    narrow = {id(weight) for part in (base.language, base.head) for weight in part.parameters()}
    for weight in base.parameters():
        moved = weight.detach().to(device, dtype if id(weight) in narrow else None)
        memo[id(weight)] = nn.Parameter(moved, requires_grad=False)
    for buffer in base.buffers():
        memo[id(buffer)] = buffer.to(device)
    return copy.deepcopy(base, memo)


def own_projector(base: LlavaBase, weights: dict[str, Tensor]) -> None:
    """Give a weight-sharing copy a projector of its own.

    Parameters
    ----------
    base
        A weight-sharing copy.
    weights
        ``projector/<name>``, as `projector_of` names them; they are used as they are, so that what
        an optimiser changes is what the copy computes with.
    """
    for name, weight in weights.items():
        parent, _, leaf = name.removeprefix(PREFIX).rpartition(".")
        module = base.projector.get_submodule(parent)
        # A plain attribute in the place of a parameter: a parameter would be another tensor.
        del module._parameters[leaf]
        setattr(module, leaf, weight)


def projector_of(base: LlavaBase) -> dict[str, Tensor]:
    """Weights of the projector as ``projector/<name>``."""
    return {
        f"{PREFIX}{name}": weight.detach() for name, weight in base.projector.named_parameters()
    }
