"""Memory of a process that holds the bare encoder of a bundle, after one frame.

    python -m cad_edge_studies.anomaly_moe_full_size.encoder_memory BUNDLE FOLDER THREADS

prints resident bytes. ``FOLDER`` takes the encoder's graph.
"""

import sys
from pathlib import Path

import numpy as np

from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.benchmark.backbone_graph import open_backbone
from cad_edge_benchmarks.instruments.memory import memory_of


def main(folder: str, place: str, threads: str) -> None:
    """Open the encoder, show it one frame and print what is resident."""
    bundle = Bundle(Path(folder))
    engine = next(iter(bundle.manifest().tasks.values())).engine
    chain = open_backbone(bundle, engine, Path(place), "cpu", int(threads))
    side = engine.recipe
    chain.run({chain.image: np.zeros((1, side.height, side.width, 3), np.uint8)})
    sys.stdout.write(f"{memory_of().rss}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
