"""Learning a step: its experts in closed form, frozen for good when the step ends.

Tasks share nothing that a later step could change. What a task needs is in its own artifact: the
experts that its router chooses, or with ``routing_at="image"`` all experts of its step.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cad_edge.errors import DatasetError, OptionError
from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.folds import Index
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.discriminant import fitted_logits
from cad_edge_training.methods.anomaly_moe.fitted import Grid
from cad_edge_training.methods.anomaly_moe.fitting import with_weights
from cad_edge_training.methods.anomaly_moe.gates import gates
from cad_edge_training.methods.anomaly_moe.held_out import (
    Heard,
    HeldOut,
    Key,
    explained,
    fit_scales,
    log_weights,
    weigh,
)
from cad_edge_training.methods.anomaly_moe.model import GATES, AnomalyMoE, look
from cad_edge_training.methods.anomaly_moe.pool import FittedPool, Seen, assign, fit_pool, named
from cad_edge_training.methods.anomaly_moe.scales import parts_of
from cad_edge_training.patch_calibration import calibrate_maps, frame_maps
from cad_edge_training.patch_features import batches

MOST_MORE = 2  # fitted experts of a level than products of the step
AGREEMENT, EXPLAINED = "agreement", "explained"
"""Names of tensors beside those of the model: the share of good parts that choose as their product
does, and R^2 on held-out parts, by level."""


def learn(request: LearningRequest, config: Config) -> LearningResult:
    """Learn a product on its own, as a step that has no other; errors are those of `learn_step`."""
    return learn_step([request], config)[0]


def learn_step(requests: Sequence[LearningRequest], config: Config) -> list[LearningResult]:
    """Learn products together into one pool of experts; what was learned before is not touched.

    Parameters
    ----------
    requests
        One for each product.
    config
        Options of the method.

    Raises
    ------
    DatasetError
        All good parts of a product look the same to the backbone.
    OptionError
        The options ask for what this form does not have.
    """
    if config.start != "fitted":
        raise OptionError("start=drawn is not built yet; give start=fitted")
    seen, grid = [], (0, 0)
    for request in requests:
        one, grid = look_at_all(request, config)
        _require_variety(request, one)
        seen.append(one)
    return Step(requests, seen, grid, config).results()


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> AnomalyMoE:
    """Return the reference model of a learned task."""
    learned = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    return AnomalyMoE(backbone, config, learned).eval()


def explained_by_whole(tensors: Tensors) -> float:
    """R^2 on held-out parts of the experts for the whole that a product's router chooses.

    The mean of them where there are several; NaN where none was chosen.
    """
    count = len(tensors[f"{EXPLAINED}/global"])
    chosen = [number for number in range(count) if f"scale/global/{number}/shift" in tensors]
    values = tensors[f"{EXPLAINED}/global"][chosen]
    return float(values.mean()) if len(values) else float("nan")


def is_whole(shared_weights: Mapping[str, object]) -> bool:
    """Whether a step is whole; always, since its tasks share nothing outside their artifacts."""
    return True


def look_at_all(request: LearningRequest, config: Config) -> tuple[Seen, Grid]:
    """See all images of a product through the frozen backbone."""
    patches, descriptors, grid = [], [], (0, 0)
    with torch.no_grad():
        for batch in batches(request.images, request.progress):
            seen, grid = look(request.backbone, config, batch)
            patches.append(seen.patches)
            descriptors.append(seen.descriptors)
    return Seen(torch.cat(patches), torch.cat(descriptors)), grid


def _require_variety(request: LearningRequest, seen: Seen) -> None:
    if bool((seen.patches == seen.patches[:1]).all()):
        raise DatasetError(
            f"task {request.task}: all {len(seen.patches)} good parts look the same; experts learn "
            "from how good parts differ, so give images of different parts"
        )


class Step:
    """One step: the products that are learned together, and the experts that they share."""

    def __init__(
        self,
        requests: Sequence[LearningRequest],
        seen: Sequence[Seen],
        grid: Grid,
        config: Config,
    ) -> None:
        self.requests, self.grid, self.config = requests, grid, config
        self.seen = Seen(*(torch.cat(parts) for parts in zip(*seen, strict=True)))
        counts = [len(one.patches) for one in seen]
        self.starts = np.cumsum([0, *counts])
        products = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        most = len(counts) + MOST_MORE
        wanted = min(max(config.experts, len(counts)), most)
        self.chosen = assign(self.seen, products, wanted, grid, config, requests[0].seed)
        self.experts = 1 + max(int(one.max()) for one in self.chosen.values())

    def fit(self, learned: Sequence[Index]) -> FittedPool:
        """Fit experts to the images ``learned`` of each product."""
        places = torch.cat([self.places(place, index) for place, index in enumerate(learned)])
        chosen = {level: one[places] for level, one in self.chosen.items()}
        seen, seed = self.seen.of(places), self.requests[0].seed
        return fit_pool(seen, chosen, self.experts, self.grid, self.config, seed)

    def places(self, product: int, index: Index) -> Tensor:
        """Places of a product's images ``index`` among those of all products."""
        return torch.from_numpy(np.asarray(index) + self.starts[product])

    def hold_out(self) -> list[HeldOut]:
        """Ask experts about the parts of every product that they have not learned from."""
        folds = [list(request.folds.splits()) for request in self.requests]
        heard: list[list[Heard]] = [[] for _ in folds]
        rounds = max(len(one) for one in folds)
        for number in range(rounds):
            pool = self.fit([one[number % len(one)][0] for one in folds])
            for product, one in enumerate(folds):
                if number < len(one):
                    held = one[number][1]
                    seen = self.seen.of(self.places(product, held))
                    heard[product].append(Heard.of(pool, seen, self.experts, held))
            self.requests[0].progress("held-out scores", number + 1, rounds)
        return [HeldOut.of(one) for one in heard]

    def results(self) -> list[LearningResult]:
        """Learn all products."""
        pool = self.fit([request.folds.learned() for request in self.requests])
        return [
            self._result(product, pool, held_out)
            for product, held_out in enumerate(self.hold_out())
        ]

    def _result(self, product: int, pool: FittedPool, held_out: HeldOut) -> LearningResult:
        request, config = self.requests[product], self.config
        own = self.seen.of(self.places(product, request.folds.learned()))
        known = explained(held_out, self.experts)
        router = {**named(pool.tensors, "router"), **log_weights(known)}
        product_gates = gates(fitted_logits(router, own.descriptors.mean(0)[None]), config)
        agreement = (gates(fitted_logits(router, own.descriptors), config) > 0).eq(
            product_gates > 0
        )
        gate = product_gates.expand(len(held_out.logits), -1)
        if config.routing_at == "image":
            gate = weigh(held_out.logits, router, config)
        parts = parts_of(len(gate), request.seed)
        scaled = fit_scales(held_out, gate, parts, config, request.keep_outliers)
        tensors = {
            name: one for name, one in pool.tensors.items() if not name.startswith("router/")
        }
        if config.routing_at == "image":
            tensors |= with_weights("router", router)
        else:
            tensors = kept(tensors, scaled.scales) | {GATES: product_gates[0]}
        for (level, number), scale in scaled.scales.items():
            tensors |= with_weights(f"scale/{level}/{number}", scale.tensors())
        tensors |= with_weights(EXPLAINED, known)
        tensors[AGREEMENT] = agreement.all(1).float().mean()
        maps = frame_maps(request, scaled.maps.reshape(-1, *self.grid), config.smoothing)
        calibration = calibrate_maps(request, held_out.places, scaled.scores, maps)
        return LearningResult({name: one.numpy() for name, one in tensors.items()}, calibration)


def kept(tensors: Mapping[str, Tensor], scales: Mapping[Key, object]) -> dict[str, Tensor]:
    """Leave out experts that a product never asks."""
    return {
        name: one
        for name, one in tensors.items()
        if name.startswith("space/") or (name.split("/")[0], int(name.split("/")[1])) in scales
    }
