"""What learns: a weight-sharing copy of the base model with the experts of one task attached."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.experts import Gate, Mixture, attach, experts_at
from cad_edge_training.methods.cl_anomaly.sites import sites_of
from cad_edge_training.methods.cl_anomaly.weight_sharing_copy import (
    PREFIX,
    own_projector,
    weight_sharing_copy,
)


@dataclass(frozen=True)
class AdaptedModel:
    """What learns."""

    base: LlavaBase
    """A weight-sharing copy with experts attached, without the private experts of other tasks."""
    gate: Gate
    learned: Mapping[str, Tensor]
    """Leaf tensors float32 that the copy computes with, by their names in the artifact."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.base.image_newline.device


def adapted_model_of(
    base: LlavaBase, config: Config, start: Tensors, device: torch.device
) -> AdaptedModel:
    """Attach what is going to be learned to a weight-sharing copy of the base model.

    Parameters
    ----------
    base
        Stays as it is.
    config
        Options of the method.
    start
        What learning starts from, by its name in the artifact.
    device
        Where to compute.
    """
    dtype = torch.bfloat16 if config.precision == "bfloat16" else None
    adapted = weight_sharing_copy(base, device, dtype)
    learned = {
        name: torch.tensor(value, device=device, requires_grad=True)
        for name, value in start.items()
    }
    own_projector(adapted, {name: t for name, t in learned.items() if name.startswith(PREFIX)})
    sites, parts = sites_of(base.language), config.composition
    mixture = Mixture(config.scale, parts.private, parts.shared, config.dropout)
    gate = attach(adapted.language, sites, experts_at(sites, [learned], learned), mixture)
    adapted.language.train()
    if config.gradient_checkpointing:
        _compute_twice(adapted.language)
    return AdaptedModel(adapted, gate, learned)


def _compute_twice(language: torch.nn.Module) -> None:
    """Keep nothing within a layer for the way back, where it is computed anew.

    Key scores hear of every token twice then, which leaves their means as they are.
    """
    for layer in language.get_submodule("layers").children():
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
