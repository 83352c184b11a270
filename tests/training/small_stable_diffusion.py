"""The published form of CDAD in seconds."""

from pathlib import Path

from cad_edge.data.stream import Stream
from cad_edge_training.methods.cdad.config import Config, defaults_for
from tests.training import small_products
from tests.training.small_cdad import METHOD
from tests.training.tiny_stable_diffusion import SIDE

TINY = {
    **{"attention_layers": "1", "heads": "4", "updates": "4", "batch": "4"},
    **{"learning_rate": "1e-3", "sampled": "1"},
}


def options(**more: object) -> Config:
    """Options of the published form, small."""
    return Config.model_validate(defaults_for("sd:tiny") | TINY | more)


def learn(stream: Stream, out: Path, folder: Path, **more: str) -> list[str]:
    """Learn a stream by the command's own function."""
    chosen = {**TINY, **more}
    return small_products.learn(stream, out, chosen, f"sd:{folder}", SIDE, method=METHOD)
