"""AnomalyMoE as the core sees it."""

import math

import numpy as np

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.method import Method, Suitability
from cad_edge_training.methods.anomaly_moe.config import Config, defaults_for
from cad_edge_training.methods.anomaly_moe.learn import (
    build_model,
    explained_by_whole,
    is_whole,
    learn,
    learn_step,
)

SUITS_FROM = 0.3
"""R^2 of the expert for the whole below which patches say more (README.md)."""


class AnomalyMoEMethod:
    """Experts for patches, components and the whole of a step's products."""

    config = Config
    defaults_for = staticmethod(defaults_for)
    learn = staticmethod(learn)
    learn_step = staticmethod(learn_step)
    is_whole = staticmethod(is_whole)
    build_model = staticmethod(build_model)

    def all_at_once(self, config: Config) -> bool:
        """Whether the stream is one step, to which no product is added."""
        return config.joint

    def suitability(self, tensors: Tensors) -> Suitability | None:
        """Share of how held-out good parts differ that the expert for the whole explains.

        None without experts for the whole, and for drawn ones, of which it says how long they
        learned, and not what the product is.
        """
        if "space/deviation" in tensors:
            return None
        explained = explained_by_whole(tensors)
        if math.isnan(explained):
            return None
        explained = max(explained, 0.0)  # worse than the mean explains nothing
        return Suitability(
            explained,
            SUITS_FROM,
            f"its expert for the whole explains {explained:.0%} of how held-out good parts differ, "
            f"and {SUITS_FROM:.0%} say that it has an arrangement to learn",
        )

    def remarks(self, tensors: Tensors) -> list[str]:
        """Say where good parts were too few for all directions of an expert for the whole."""
        said = []
        for name, basis in tensors.items():
            if not (name.startswith("global/") and name.endswith("/basis")):
                continue
            kept, rank = int(np.any(basis, axis=0).sum()), basis.shape[1]
            if kept < rank:
                said.append(
                    f"its expert for the whole has {kept} of {rank} directions, since it keeps two "
                    "fewer than it learns good parts from; give more, or a smaller rank"
                )
        return sorted(set(said))

    def last_block(self, backbone: Backbone, config: Config) -> int:
        """Deepest block whose features are used."""
        return config.blocks[-1]


METHOD: Method[Config] = AnomalyMoEMethod()
