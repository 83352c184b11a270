"""A step whose experts are learned by gradient, and held-out parts that take no part in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cad_edge.errors import DatasetError, OptionError
from cad_edge_training.division import Division, divide
from cad_edge_training.learned import LearningRequest
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.discriminant import NEVER
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.pool import (
    Components,
    Constants,
    DrawnPool,
    components_of,
    pixels_of,
)
from cad_edge_training.methods.anomaly_moe.drawn.training_data import DrawnExperts, TrainingData
from cad_edge_training.methods.anomaly_moe.drawn.training_loop import train_experts
from cad_edge_training.methods.anomaly_moe.drawn.units import (
    fit_clusters,
    fit_descriptors,
    fit_space,
)
from cad_edge_training.methods.anomaly_moe.fitted import Weights
from cad_edge_training.methods.anomaly_moe.fitted_pool import FrozenFeatures
from cad_edge_training.methods.anomaly_moe.fitting import with_weights
from cad_edge_training.methods.anomaly_moe.held_out import LEAST_PARTS, FoldErrors, HeldOut
from cad_edge_training.methods.anomaly_moe.result import LearnedProduct


@dataclass(frozen=True)
class Product:
    """What a step learns from one product."""

    request: LearningRequest
    seen: FrozenFeatures
    """All its good parts, without pixels."""
    division: Division

    @staticmethod
    def of(request: LearningRequest, seen: FrozenFeatures) -> "Product":
        """Hold out a fifth of the parts, and as many as scales need if at least half stay."""
        images, groups = len(request.images), request.groups
        division = divide(images, request.rate, request.seed, request.task, groups, LEAST_PARTS)
        if len(division.held_out) < 2:
            raise DatasetError(
                f"{request.task}: only one good part can be held out, and experts are scaled by "
                "how held-out parts differ; give images of more groups"
            )
        return Product(request, seen, division)

    def learned(self) -> FrozenFeatures:
        """Good parts that are learned from, without pixels."""
        return self.seen.of(torch.from_numpy(self.division.learned))

    def held_out(self) -> FrozenFeatures:
        """Good parts that are held out."""
        places = self.division.held_out
        seen = self.seen.of(torch.from_numpy(places))
        return seen._replace(images=torch.from_numpy(self.request.images[places]))


@dataclass(frozen=True)
class StepFeatures:
    """A product in the units of the step."""

    space: Weights
    projected: Tensor
    """(n, p, d) of the parts that are learned from."""
    components: Components


class DrawnStep:
    """Products that are learned together, and the experts that they share.

    Parameters
    ----------
    requests, seen
        Of each product; ``seen`` has no pixels.
    layout
        Of all of them.
    """

    def __init__(
        self,
        requests: Sequence[LearningRequest],
        seen: Sequence[FrozenFeatures],
        layout: Layout,
        config: Config,
    ) -> None:
        if not config.steps:
            raise OptionError(
                "drawn experts that are not updated have nothing to say; give steps, for example "
                "steps=500"
            )
        self.layout, self.config, self.first = layout, config, requests[0]
        self.products = [Product.of(*one) for one in zip(requests, seen, strict=True)]
        joined = FrozenFeatures.joined([one.learned() for one in self.products])
        self.descriptors = joined.descriptors
        self.space = fit_space(joined.patches, self.first.backbone)

    def learn(self) -> list[LearnedProduct]:
        """Learn the experts, and ask them about what is held out of every product."""
        known = [self._know(one.learned()) for one in self.products]
        units = fit_descriptors(self.descriptors)
        data = self._training_data(known, (self.descriptors - units["mean"]) / units["deviation"])
        found = train_experts(data, self.config, self.first.seed, self.first.progress)
        experts = experts_of(found) | with_weights("router", units)
        return [self._ask(*one, experts) for one in zip(self.products, known, strict=True)]

    def _know(self, seen: FrozenFeatures) -> StepFeatures:
        projected = (seen.patches - self.space["mean"]) / self.space["deviation"]
        clusters = fit_clusters(projected, self.layout, self.config, self.first.seed)
        space = self.space | clusters
        return StepFeatures(space, projected, components_of(space, projected, self.layout))

    def _training_data(self, known: Sequence[StepFeatures], descriptors: Tensor) -> TrainingData:
        patches = torch.cat([one.projected for one in known])
        vectors = torch.cat([one.components.vectors for one in known])
        features = self.layout.features
        return TrainingData(
            layout=self.layout,
            features=patches.transpose(1, 2).reshape(len(patches), features, *self.layout.grid),
            pixels=self._pixels,
            descriptors=descriptors,
            assignment=torch.cat([one.components.members for one in known]),
            geometry=vectors[..., features:] if self.layout.geometry else None,
        )

    def _pixels(self, index: Tensor) -> Tensor:
        """Pixels of images (m,) int64, numbered through all products."""
        learned = [one.division.learned for one in self.products]
        starts = np.cumsum([0, *map(len, learned)])
        images = []
        for number in index.tolist():
            product = int(np.searchsorted(starts, number, side="right")) - 1
            place = learned[product][number - starts[product]]
            images.append(torch.from_numpy(self.products[product].request.images[place]))
        return pixels_of(self.space, torch.stack(images))

    @torch.no_grad()
    def _ask(self, product: Product, known: StepFeatures, experts: Weights) -> LearnedProduct:
        constants = Constants.of(known.projected, known.components, self.layout)
        tensors = {**experts, **with_weights("space", known.space)}
        pool = DrawnPool(tensors, self.layout, self.config, constants)
        division = product.division
        heard = FoldErrors.of(pool, product.held_out(), division.held_out)
        return LearnedProduct(
            request=product.request,
            pool=pool,
            held_out=HeldOut.of([heard]),
            experts=self.config.experts,
            descriptors=product.learned().descriptors,
            groups=division.groups,
        )


def experts_of(found: DrawnExperts) -> dict[str, Tensor]:
    """Tensors of experts and router; experts that no image chose are dropped, and never chosen."""
    unused = tuple(f"{name}." for name in found.record.unused)
    weights = {name: one for name, one in found.weights.items() if not name.startswith(unused)}
    bias = found.router["layer.1.bias"].clone()
    places = list(found.record.images)
    for name in found.record.unused:
        bias[places.index(name)] = NEVER
    router = {**found.router, "layer.1.bias": bias}
    named = {**weights, **{f"router.{name}": one for name, one in router.items()}}
    return {name.replace(".", "/"): one.cpu() for name, one in named.items()}
