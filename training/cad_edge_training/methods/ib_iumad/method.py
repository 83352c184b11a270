"""IB-IUMAD as the core sees it."""

from cad_edge.store.artifact import Tensors
from cad_edge_training.method import Method
from cad_edge_training.methods.ib_iumad.config import Config, defaults_for, uses_depth
from cad_edge_training.methods.ib_iumad.frozen import last_block
from cad_edge_training.methods.ib_iumad.held_out import WHITENED
from cad_edge_training.methods.ib_iumad.learn import (
    build_model,
    is_whole,
    learn,
    learn_step,
    recalibrate,
)


class IBIUMADMethod:
    """One network for image and depth that grows with every product."""

    config = Config
    defaults_for = staticmethod(defaults_for)
    uses_depth = staticmethod(uses_depth)
    learn = staticmethod(learn)
    learn_step = staticmethod(learn_step)
    is_whole = staticmethod(is_whole)
    build_model = staticmethod(build_model)
    last_block = staticmethod(last_block)
    recalibrate = staticmethod(recalibrate)

    def remarks(self, tensors: Tensors) -> list[str]:
        """Say where good parts are too few for `residual=whitened`."""
        if WHITENED not in tensors or tensors[WHITENED].item():
            return []
        return [
            "too few good parts, or all of them of one group, to tell how their residuals vary: "
            "they are compared by length alone, which finds fewer defects; give more good parts"
        ]


METHOD: Method[Config] = IBIUMADMethod()
