"""AnomalyMoE as the core sees it."""

from cad_edge_training.backbones import Backbone
from cad_edge_training.method import Method
from cad_edge_training.methods.anomaly_moe.config import Config, defaults_for
from cad_edge_training.methods.anomaly_moe.learn import build_model, is_whole, learn, learn_step


class AnomalyMoEMethod:
    """Experts for patches, components and the whole of a step's products."""

    config = Config
    defaults_for = staticmethod(defaults_for)
    learn = staticmethod(learn)
    learn_step = staticmethod(learn_step)
    is_whole = staticmethod(is_whole)
    build_model = staticmethod(build_model)

    def last_block(self, backbone: Backbone, config: Config) -> int:
        """Deepest block whose features are used."""
        return config.blocks[-1]


METHOD: Method[Config] = AnomalyMoEMethod()
