"""AnomalyMoE as the core sees it."""

import math

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

    def last_block(self, backbone: Backbone, config: Config) -> int:
        """Deepest block whose features are used."""
        return config.blocks[-1]


METHOD: Method[Config] = AnomalyMoEMethod()
