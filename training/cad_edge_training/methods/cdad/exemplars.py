"""Exemplars: latents of older products' good parts, whose reconstruction later steps are held to.

Projection protects what layers answer to old inputs one layer at a time, and takes directions for
good. The distance between what the network restores of an exemplar and what it restored of it when
its product was learned is the change itself, through all layers, and takes no direction. This is
distillation on exemplars (Rebuffi et al. 2017, arXiv 1611.07725; Buzzega et al. 2020, arXiv
2004.07211), in latents and not in images. The paper keeps none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_training.methods.cdad.form import Form
from cad_edge_training.methods.cdad.held_out import of_half, to_half
from cad_edge_training.methods.cdad.network import DiffusionNetwork, sampling_of
from cad_edge_training.methods.cdad.parts import Parts, joined
from cad_edge_training.methods.cdad.schedule import SamplingPlan
from cad_edge_training.methods.cdad.training_loop import TrainingData

EXEMPLARS, RESTORED = "exemplars", "exemplars_restored"
"""Names of an artifact's tensors: good parts (n, ...) that were learned from as `Form.to_keep` lays
them out, every second one with a synthetic defect, and latents (n, c, h, w) float16 that the
network restored of them then."""
BATCH = 8  # exemplars of each update
_AT_ONCE = 8


@dataclass(frozen=True)
class Exemplars:
    """Those of all products before a step."""

    parts: Parts
    """(n, ...)."""
    restored: Tensor
    """(n, c, h, w) float32, what each product's own network version restored of them."""
    noise: Tensor
    """(1, c, h, w), the sampler's."""
    sampling: SamplingPlan
    weight: float
    """Of the loss, `Config.distillation` for every product."""

    @staticmethod
    def of_tasks(tasks: Sequence[LearnedTask], noise: Tensor, form: Form) -> "Exemplars | None":
        """Take those of artifacts; None where options keep none, or no artifact has any."""
        config = form.config
        having = [one.tensors for one in tasks if EXEMPLARS in one.tensors]
        if not config.exemplars or not having:
            return None
        parts = joined([form.kept(one[EXEMPLARS]) for one in having])
        restored = torch.cat([of_half(one[RESTORED]) for one in having])
        weight = config.distillation * len(having)
        return Exemplars(parts, restored, noise, sampling_of(config), weight)

    def loss(self, network: DiffusionNetwork) -> Tensor:
        """Weighted mean square, (), between what `BATCH` of them are restored to now and then.

        Which ones is drawn from torch's generator. All steps of the sampler are gone through, with
        its constant noise, as the device does.
        """
        index = torch.randint(len(self.parts), (BATCH,))
        now = network(self.parts.at(index), self.noise, self.sampling)
        return self.weight * functional.mse_loss(now, self.restored[index])


@torch.no_grad()
def exemplars_of(
    form: Form, network: DiffusionNetwork, data: TrainingData, noise: Tensor
) -> Tensors:
    """Tensors of an artifact for `Config.exemplars` evenly spread good parts of a product.

    Parameters
    ----------
    form
        Its options say how many.
    network
        After the step.
    data
        Of the product.
    noise
        (1, c, h, w), that of every frame.
    """
    config = form.config
    if not config.exemplars:
        return {}
    kept = form.to_keep(data.spread(config.exemplars))
    # Restored as they are kept, which may be in half precision.
    sampling = sampling_of(config)
    restored = [network(some, noise, sampling) for some in form.kept(kept).split(_AT_ONCE)]
    return {EXEMPLARS: kept, RESTORED: to_half(torch.cat(restored))}
