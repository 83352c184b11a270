"""What is measured: its dimensions, and where `build` leaves it; needs no torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cad_edge_benchmarks.instruments.subprocess_worker import Launch, run

FLOAT: Final = "fp32"
ROUNDED: Final = "uint8"
"""Precisions of the bundles."""
REFUSAL = f"refused-{ROUNDED}.txt"
"""File with what the exporter said instead of exporting."""


@dataclass(frozen=True)
class Dimensions:
    """The published LLaVA-OneVision-0.5B, as transformers reads it, and how many tasks it learned.

    Its tower is SigLIP so400m/14 without the last of its 27 blocks: neither side computes that.
    """

    side: int = 384
    patch: int = 14
    vision_width: int = 1152
    vision_layers: int = 26
    vision_heads: int = 16
    vision_inner: int = 4304
    width: int = 896
    layers: int = 24
    heads: int = 14
    kv_heads: int = 2
    inner: int = 4864
    vocabulary: int = 152_064
    tasks: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order in which they are learned."""
        return tuple(f"product-{number:02d}" for number in range(self.tasks))


def build(place: Path, dimensions: Dimensions) -> None:
    """Make in ``place`` what is measured, unless it is there; in a process of its own."""
    arguments = ("-m", "cad_edge_studies.cl_anomaly_full_size.build", place)
    size = json.dumps(asdict(dimensions))
    # Threads that wait sleep, as in every learning: the machine may be shared.
    run(Launch("the build", (*arguments, size), place, {"OMP_WAIT_POLICY": "PASSIVE"}))


def bundle_of(place: Path, precision: str) -> Path:
    """Folder of the bundle of a precision."""
    return place / f"bundle-{precision}"
