"""The router: an image's descriptor to a logit of every expert."""

from torch import Generator, Tensor
from torch.nn import functional

from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.weights import Weights, draw_narrow, linear


def draw_router(config: Config, layout: Layout, generator: Generator) -> dict[str, Tensor]:
    """Draw a router: D→D/3→experts as released (768→256→18); one matrix W_gate in the paper."""
    hidden = max(layout.descriptor // 3, 4)
    count = len(LEVELS) * config.experts
    first = draw_narrow("layer.0", layout.descriptor, hidden, generator)
    return first | draw_narrow("layer.1", hidden, count, generator)


def route(router: Weights, descriptors: Tensor) -> Tensor:
    """Logits (n, 3·experts) from descriptors (n, D) float32, standardised.

    Experts are in the order of `LEVELS`: patch, component, global. As released they are patch,
    global, component.
    """
    return linear(router, "layer.1", functional.gelu(linear(router, "layer.0", descriptors)))
