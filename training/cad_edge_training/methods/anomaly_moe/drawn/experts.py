"""All experts of a step as one flat dictionary, and any of them taken out of it."""

from torch import Generator, Tensor

from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.drawn.component_expert import draw_component
from cad_edge_training.methods.anomaly_moe.drawn.global_expert import draw_global
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.patch_expert import draw_patch
from cad_edge_training.methods.anomaly_moe.drawn.weights import Weights, part, under


def draw_experts(config: Config, layout: Layout, generator: Generator) -> dict[str, Tensor]:
    """Draw `config.experts` of each level; names begin with level and number, as ``patch.0``."""
    found: dict[str, Tensor] = {}
    for number in range(config.experts):
        found |= under(f"{LEVELS[0]}.{number}", draw_patch(config, layout, generator))
        found |= under(f"{LEVELS[1]}.{number}", draw_component(layout, generator))
        found |= under(f"{LEVELS[2]}.{number}", draw_global(config, layout, generator))
    return found


def expert(weights: Weights, index: int, config: Config) -> dict[str, Tensor]:
    """Weights of one expert by its place among all, as in the axis of gates."""
    level, number = divmod(index, config.experts)
    return part(weights, f"{LEVELS[level]}.{number}")
