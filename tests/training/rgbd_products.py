"""Small parts with depth from the procedural line, and options that learn them in seconds."""

from pathlib import Path

from cad_edge.data.stream import Stream, read_stream
from cad_edge_studies.procedural_rgbd_line.writing import write_line
from cad_edge_training.train import TrainingPlan

SIDE = 64
PARTS = 26
"""Of 16 cells each: as many cells as image and depth have channels, whichever is left out."""
STEPS = (("gear", "bolt"), ("loaf",), ("cap",))
NAMES = tuple(name for step in STEPS for name in step)
QUICK = {
    "width": "16",
    "layers": "2",
    "heads": "2",
    "inner": "16",
    "states": "2",
    "epochs": "2",
    "step_epochs": "2",
    "batch": "4",
    "step_batch": "4",
    "learning_rate": "0.003",
}


def rgbd_stream(folder: Path, steps=STEPS, train: int = 8, good: int = 2, each: int = 1) -> Stream:
    """Write parts of 64 px and read their stream."""
    return read_stream(write_line(folder, steps, train, good, each, 0, 0.3, SIDE))


def quick_plan(options: dict[str, str] | None = None, seed: int = 0) -> TrainingPlan:
    """How to learn them."""
    return TrainingPlan("ib_iumad", "efficientnet-lite0", SIDE, QUICK | (options or {}), seed)
