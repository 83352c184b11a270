"""IB-IUMAD as the core sees it."""

from cad_edge_training.method import Method
from cad_edge_training.methods.ib_iumad.config import Config, defaults_for, uses_depth
from cad_edge_training.methods.ib_iumad.frozen import last_block
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


METHOD: Method[Config] = IBIUMADMethod()
