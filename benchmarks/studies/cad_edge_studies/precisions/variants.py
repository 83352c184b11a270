r"""Bundles of one line in several precisions or on several devices, in turns: time and accuracy.

    python -m cad_edge_studies.precisions.variants fp32=BUNDLE openvino=BUNDLE@openvino \
        --stream FILE

Every variant is NAME=BUNDLE or NAME=BUNDLE@DEVICE, the device `cpu` where none is named; the first
is what the others are compared with. They take turns of eight routed frames, the same for all: a
line runs one of them and not each after the other, so its weights stay in the caches. Needs no
torch, so that it runs where another wheel of ONNX Runtime is installed.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from cad_edge.data.image import Frame
from cad_edge.data.stream import Stream, read_stream
from cad_edge.errors import OptionError
from cad_edge_benchmarks.evaluate.command import evaluate_stream, evaluation_result
from cad_edge_benchmarks.instruments.environment import graphs_of
from cad_edge_benchmarks.instruments.interleaved_timing import (
    in_rounds,
    latency_of,
    nanoseconds_of,
    ratio_of,
)
from cad_edge_benchmarks.reporting.headings import HEADINGS
from cad_edge_benchmarks.reporting.tables import figure, text_table, write_result
from cad_edge_runtime import Detector
from cad_edge_studies.open_category_study import Study, made_with
from cad_edge_studies.peers.cad_edge_bundles import spread_frames

Result = Mapping[str, Any]

FRAMES_OF_A_TURN = 8
FIGURES = ("detection_rate", "false_reject_rate", "image_auroc", "pixel_auroc")


class Variant(NamedTuple):
    """One bundle on one device."""

    name: str
    bundle: Path
    device: str = "cpu"

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read NAME=BUNDLE[@DEVICE]; raise OptionError if it is something else."""
        name, equals, rest = text.partition("=")
        bundle, _, device = rest.partition("@")
        if not (name and equals and bundle):
            raise OptionError(f"{text!r} is not a variant; write NAME=BUNDLE or NAME=BUNDLE@DEVICE")
        return cls(name, Path(bundle), device or "cpu")


@click.command("variants", cls=Study)
@click.argument("written", nargs=-1, required=True, metavar="NAME=BUNDLE[@DEVICE]...")
@click.option("--stream", "stream_file", required=True, type=click.Path(path_type=Path))
@click.option("--rounds", type=click.IntRange(min=20), default=100, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the figures there.")
def main(
    written: tuple[str, ...], stream_file: Path, rounds: int, threads: int, out: Path | None
) -> None:
    """Time the variants in turns and evaluate each on the stream."""
    variants = [Variant.parse(text) for text in written]
    result = measure(variants, read_stream(stream_file), rounds, threads)
    click.echo(variants_table(result))
    if out is not None:
        write_result(out, result)


def measure(
    variants: Sequence[Variant], stream: Stream, rounds: int, threads: int
) -> dict[str, object]:
    """Time and evaluate variants, of which the first is the reference, on a stream they all know.

    Returns
    -------
    The result as it is written: ``variants`` by name, each with its latency in milliseconds, its
    figures by task, and its time over the reference's, as ratio of the medians (``to_first``) and
    turn by turn (``turns_to_first``).

    Raises
    ------
    OptionError
        Two variants have one name.
    BundleError, DeviceError, DatasetError
        A variant cannot be opened, or the stream does not fit it.
    """
    if len({variant.name for variant in variants}) < len(variants):
        raise OptionError("two variants have one name; give each its own")
    with ExitStack() as stack:
        detectors = {}
        for name, bundle, device in variants:
            opened = Detector.open(bundle, device=device, threads=threads, watch=False)
            detectors[name] = stack.enter_context(opened)
        return {
            "stream": stream.name,
            **made_with(threads),
            "rounds": rounds,
            "frames_of_a_turn": FRAMES_OF_A_TURN,
            **_compared(detectors, stream, rounds),
        }


def _compared(detectors: Mapping[str, Detector], stream: Stream, rounds: int) -> dict[str, object]:
    """Return the number of ``frames`` that were timed, and ``variants`` by name."""
    reference, first = next(iter(detectors.items()))
    recipe = first.manifest.selector.engine.recipe
    frames = [frame for _, frame in spread_frames(stream, recipe)]
    turns = {name: partial(_turn, one, itertools.cycle(frames)) for name, one in detectors.items()}
    times = {name: np.array(found) for name, found in in_rounds(turns, rounds).items()}
    latencies = {name: latency_of(found.ravel()) for name, found in times.items()}
    rows = {
        name: {
            **_described(detector),
            "latency": asdict(latencies[name]),
            "to_first": latencies[name].p50 / latencies[reference].p50,
            "turns_to_first": asdict(ratio_of(times[name].sum(1), times[reference].sum(1))),
            "evaluation": evaluation_result(evaluate_stream(detector, stream)),
        }
        for name, detector in detectors.items()
    }
    return {"frames": len(frames), "variants": rows}


def _turn(detector: Detector, coming: Iterator[Frame]) -> list[int]:
    """Inspect the next `FRAMES_OF_A_TURN` frames; nanoseconds of each."""
    frames = itertools.islice(coming, FRAMES_OF_A_TURN)
    return [nanoseconds_of(partial(detector.detect, frame)) for frame in frames]


def _described(detector: Detector) -> dict[str, object]:
    """Device, precisions, graphs, and layers that an eight-bit export left in float."""
    manifest = detector.manifest
    tasks = manifest.tasks.values()
    engines = [manifest.selector.engine, *(task.engine for task in tasks)]
    evidence = [task.certificate.quantisation for task in tasks]
    kept = {name for one in evidence if one is not None for name in one.kept_in_float}
    return {
        "device": detector.device,
        "precision": sorted({engine.precision for engine in engines}),
        "kept_in_float": sorted(kept),
        "graphs": graphs_of(manifest),
    }


def variants_table(result: Result) -> str:
    """Lay out for a terminal: milliseconds, times faster than the first, mean figures."""
    rows = []
    for name, row in result["variants"].items():
        latency, mean = row["latency"], row["evaluation"]["mean"]
        times = (latency["p50"], latency["p90"], 1 / row["to_first"])
        shown = [*(figure(one, 2) for one in times), *(figure(mean[one], 4) for one in FIGURES)]
        rows.append([name, row["device"], *shown])
    figures = [HEADINGS[name] for name in FIGURES]
    return text_table(["variant", "device", "p50 ms", "p90 ms", "times faster", *figures], rows)


if __name__ == "__main__":
    main()
