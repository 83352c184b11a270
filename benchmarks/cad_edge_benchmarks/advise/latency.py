"""Time and memory of many bundles, taken in one run so that they can be compared."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np

from cad_edge.data.image import Frame, decode_image
from cad_edge_benchmarks.advise.validation_split import SplitStream
from cad_edge_benchmarks.instruments.interleaved_timing import Latency, latency_of, take_turns
from cad_edge_benchmarks.instruments.probe import probe
from cad_edge_runtime import Detector

FRAMES = 16
"""Pictures that every bundle is shown, evenly from all products."""
ROUNDS = 100
FEW_ROUNDS = 30
"""Where a time only decides what to combine."""
_PROBES = 3


def pictures(data: SplitStream) -> list[Path]:
    """Choose some good images, evenly from those that judge the products."""
    good = [
        one.image.path
        for product in data.products.values()
        for one in (*product.selection, *product.evaluation)
        if not one.image.anomalous
    ]
    return [good[at] for at in np.unique(np.linspace(0, len(good) - 1, FRAMES).astype(int))]


def time_bundles(
    bundles: Mapping[str, Path], shown: Sequence[Path], device: str, threads: int, rounds: int
) -> dict[str, Latency]:
    """Time a routed frame of every bundle, all open in this process and taking turns.

    Parameters
    ----------
    bundles
        Folder of each bundle by name.
    shown
        Pictures; each bundle gets them at its own input size, so that resizing is not timed.
    device, threads
        As `Detector.open` takes them.
    rounds
        Frames of each bundle that count.
    """
    frames: dict[tuple[int, int], list[Frame]] = {}
    with ExitStack() as opened:
        subjects: dict[str, Callable[[], object]] = {}
        for name, bundle in bundles.items():
            detector = opened.enter_context(Detector.open(bundle, device, threads, watch=False))
            recipe = detector.manifest.selector.engine.recipe
            size = (recipe.width, recipe.height)
            if size not in frames:
                frames[size] = [recipe.apply(decode_image(path)) for path in shown]
            subjects[name] = _in_turn(detector, frames[size])
        return {name: latency_of(times) for name, times in take_turns(subjects, rounds).items()}


def _in_turn(detector: Detector, frames: Sequence[Frame]) -> Callable[[], object]:
    following = cycle(frames)
    return lambda: detector.detect(next(following))


def peak_memory(bundle: Path, image: Path, device: str, threads: int) -> int:
    """Peak resident memory of a device process on ``bundle`` in bytes, median of a few.

    Raises
    ------
    CadEdgeError
        The process failed.
    """
    found = [probe(bundle, image, threads, device).peak_rss for _ in range(_PROBES)]
    return int(median(found))
