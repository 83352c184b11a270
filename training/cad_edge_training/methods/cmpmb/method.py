"""CMPMB as the core sees it."""

from cad_edge_training.backbones import Backbone
from cad_edge_training.method import Method
from cad_edge_training.methods.cmpmb.config import Config, defaults_for, unsupported_parts
from cad_edge_training.methods.cmpmb.learn import build_model, learn
from cad_edge_training.methods.cmpmb.sweep import axes_for, settings_for


class CMPMBMethod:
    """Multimodal prompts and memory bank."""

    config = Config
    defaults_for = staticmethod(defaults_for)
    learn = staticmethod(learn)
    build_model = staticmethod(build_model)
    unsupported_parts = staticmethod(unsupported_parts)
    axes_for = staticmethod(axes_for)
    settings_for = staticmethod(settings_for)

    def last_block(self, backbone: Backbone, config: Config) -> int:
        """Deepest block whose features are used."""
        return config.last_block


METHOD: Method[Config] = CMPMBMethod()
