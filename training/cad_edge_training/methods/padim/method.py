"""PaDiM as the core sees it."""

from cad_edge_training.backbones import Backbone
from cad_edge_training.method import Method
from cad_edge_training.methods.padim.config import Config, defaults_for
from cad_edge_training.methods.padim.learn import build_model, learn


class PaDiMMethod:
    """One Gaussian per patch position; no training loop."""

    config = Config
    defaults_for = staticmethod(defaults_for)
    learn = staticmethod(learn)
    build_model = staticmethod(build_model)

    def last_block(self, backbone: Backbone, config: Config) -> int:
        """Deepest block whose features are used."""
        return config.blocks[-1]


METHOD: Method[Config] = PaDiMMethod()
