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
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.held_out import of_half, to_half
from cad_edge_training.methods.cdad.network import Network, sampling_of
from cad_edge_training.methods.cdad.schedule import SamplingPlan
from cad_edge_training.methods.cdad.training_loop import TrainingData

EXEMPLARS, RESTORED = "exemplars", "exemplars_restored"
"""Names of an artifact's tensors: latents (n, c, h, w) float16 of good parts that were learned
from, every second one with a synthetic defect, and what the network restored of them then."""
BATCH = 8  # exemplars of each update
_AT_ONCE = 8


@dataclass(frozen=True)
class Exemplars:
    """Those of all products before a step."""

    latents: Tensor
    """(n, c, h, w) float32."""
    restored: Tensor
    """(n, c, h, w), what each product's own network version restored of them."""
    noise: Tensor
    """(1, c, h, w), the sampler's."""
    sampling: SamplingPlan
    weight: float
    """Of the loss, `Config.distillation` for every product."""

    @staticmethod
    def of_tasks(tasks: Sequence[LearnedTask], noise: Tensor, config: Config) -> "Exemplars | None":
        """Take those of artifacts; None where options keep none, or no artifact has any."""
        having = [one.tensors for one in tasks if EXEMPLARS in one.tensors]
        if not config.exemplars or not having:
            return None
        latents, restored = (
            torch.cat([of_half(one[name]) for one in having]) for name in (EXEMPLARS, RESTORED)
        )
        weight = config.distillation * len(having)
        return Exemplars(latents, restored, noise, sampling_of(config), weight)

    def loss(self, network: Network) -> Tensor:
        """Weighted mean square, (), between what `BATCH` of them are restored to now and then.

        Which ones is drawn from torch's generator. All steps of the sampler are gone through, with
        its constant noise, as the device does.
        """
        index = torch.randint(len(self.latents), (BATCH,))
        now = network(self.latents[index], self.noise, self.sampling)
        return self.weight * functional.mse_loss(now, self.restored[index])


@torch.no_grad()
def exemplars_of(network: Network, data: TrainingData, noise: Tensor, config: Config) -> Tensors:
    """Tensors of an artifact for `Config.exemplars` evenly spread good parts of a product.

    Parameters
    ----------
    network
        After the step.
    data
        Of the product.
    noise
        (1, c, h, w), that of every frame.
    """
    if not config.exemplars:
        return {}
    kept = to_half(data.spread(config.exemplars))
    # Restored as they are kept, in half precision.
    sampling = sampling_of(config)
    restored = [network(some, noise, sampling) for some in torch.split(of_half(kept), _AT_ONCE)]
    return {EXEMPLARS: kept, RESTORED: to_half(torch.cat(restored))}
