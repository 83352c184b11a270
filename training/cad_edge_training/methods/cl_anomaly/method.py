"""CL-Anomaly as the core sees it."""

from typing import Literal

from cad_edge_training.method import HasRouter, Method, UpdatesEarlierTasks
from cad_edge_training.methods.cl_anomaly.config import Config, defaults_for, defaults_for_views
from cad_edge_training.methods.cl_anomaly.learn import (
    build_model,
    held_out_scores,
    learn,
    recalibrate,
    without_router,
)


class CLAnomalyMethod:
    """A multimodal language model with private and shared LoRA experts."""

    config = Config
    distributed: Literal[True] = True
    defaults_for = staticmethod(defaults_for)
    defaults_for_views = staticmethod(defaults_for_views)
    learn = staticmethod(learn)
    build_model = staticmethod(build_model)
    recalibrate = staticmethod(recalibrate)
    without_router = staticmethod(without_router)
    held_out_scores = staticmethod(held_out_scores)


_METHOD = CLAnomalyMethod()
METHOD: Method[Config] = _METHOD
UPDATES: UpdatesEarlierTasks[Config] = _METHOD
ROUTES: HasRouter[Config] = _METHOD
