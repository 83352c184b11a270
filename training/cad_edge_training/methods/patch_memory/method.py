"""The patch memory as the core sees it."""

from cad_edge_training.backbones import Backbone
from cad_edge_training.method import Method
from cad_edge_training.methods.patch_memory.config import Config, defaults_for
from cad_edge_training.methods.patch_memory.learn import build_model, learn
from cad_edge_training.methods.patch_memory.sweep import axes_for, settings_for


class PatchMemoryMethod:
    """Memory banks of whitened patches; no training loop."""

    config = Config
    defaults_for = staticmethod(defaults_for)
    learn = staticmethod(learn)
    build_model = staticmethod(build_model)
    axes_for = staticmethod(axes_for)
    settings_for = staticmethod(settings_for)

    def last_block(self, backbone: Backbone, config: Config) -> int:
        """Deepest block whose features are used."""
        return config.last_block


METHOD: Method[Config] = PatchMemoryMethod()
