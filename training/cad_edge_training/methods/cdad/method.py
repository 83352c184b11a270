"""CDAD as the core sees it."""

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.method import Method
from cad_edge_training.methods.cdad.config import Config, defaults_for
from cad_edge_training.methods.cdad.held_out import EXPLAINED, FREE
from cad_edge_training.methods.cdad.learn import build_model, learn, learn_step, recalibrate
from cad_edge_training.methods.cdad.model import is_whole

LEAST_EXPLAINED, LEAST_FREE = 0.3, 0.1
"""R^2 of a new product's held-out parts, and free share of directions, below which the network is
called full."""


class CDADMethod:
    """One diffusion network for all products, whose updates leave older ones alone."""

    config = Config
    defaults_for = staticmethod(defaults_for)
    learn = staticmethod(learn)
    learn_step = staticmethod(learn_step)
    is_whole = staticmethod(is_whole)
    build_model = staticmethod(build_model)
    recalibrate = staticmethod(recalibrate)

    def last_block(self, backbone: Backbone, config: Config) -> int:
        """Deepest block whose features are used."""
        return config.blocks[-1]

    def remarks(self, tensors: Tensors) -> list[str]:
        """Say how well the product was learned, and what was free for it."""
        explained, free = (tensors[name].item() for name in (EXPLAINED, FREE))
        restored = (
            f"the network restores {max(explained, 0):.0%} of how its held-out good parts differ"
        )
        # Without projection every direction is free, and saying so would promise room.
        said = [
            restored if free == 1 else f"{restored}; {free:.0%} of all directions were free for it"
        ]
        if explained < LEAST_EXPLAINED or free < LEAST_FREE:
            said.append(
                f"the network is full: at least {LEAST_EXPLAINED:.0%} and {LEAST_FREE:.0%} are "
                "wanted; do not release this product by it, and learn it with --out another "
                "folder, or all products again with a lower energy or, on the embedded backbone, "
                "a larger width"
            )
        return said


METHOD: Method[Config] = CDADMethod()
