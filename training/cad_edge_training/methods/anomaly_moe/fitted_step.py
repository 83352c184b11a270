"""A step whose experts are fitted, and folds of its products that judge one another."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cad_edge_training.folds import Index
from cad_edge_training.learned import LearningRequest
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.fitted import Grid
from cad_edge_training.methods.anomaly_moe.fitted_pool import (
    FittedPool,
    FrozenFeatures,
    assign,
    fit_pool,
)
from cad_edge_training.methods.anomaly_moe.held_out import FoldErrors, HeldOut
from cad_edge_training.methods.anomaly_moe.result import LearnedProduct

MOST_MORE = 2  # fitted experts of a level than products of the step


class FittedStep:
    """One step: the products that are learned together, and the experts that they share."""

    def __init__(
        self,
        requests: Sequence[LearningRequest],
        seen: Sequence[FrozenFeatures],
        grid: Grid,
        config: Config,
    ) -> None:
        self.requests, self.grid, self.config = requests, grid, config
        self.seen = FrozenFeatures.joined(seen)
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
        heard: list[list[FoldErrors]] = [[] for _ in folds]
        rounds = max(len(one) for one in folds)
        for number in range(rounds):
            pool = self.fit([one[number % len(one)][0] for one in folds])
            for product, one in enumerate(folds):
                if number < len(one):
                    held = one[number][1]
                    seen = self.seen.of(self.places(product, held))
                    heard[product].append(FoldErrors.of(pool, seen, held))
            self.requests[0].progress("held-out scores", number + 1, rounds)
        return [HeldOut.of(one) for one in heard]

    def learn(self) -> list[LearnedProduct]:
        """Learn all products."""
        pool = self.fit([request.folds.learned() for request in self.requests])
        return [
            LearnedProduct(
                request=request,
                pool=pool,
                held_out=held_out,
                experts=self.experts,
                descriptors=self.seen.of(self.places(product, request.folds.learned())).descriptors,
                groups=request.folds.groups,
                scheme=request.folds.scheme,
                folds=request.folds.count,
            )
            for product, (request, held_out) in enumerate(
                zip(self.requests, self.hold_out(), strict=True)
            )
        ]
