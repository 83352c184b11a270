"""Bundles of one line in several precisions or on several devices, in turns: time and accuracy.

    python -m cad_edge_benchmarks.variants fp32=BUNDLE openvino=BUNDLE@openvino --stream FILE

Every variant is NAME=BUNDLE or NAME=BUNDLE@DEVICE, the device `cpu` where none is named; the first
is what the others are compared with. All inspect the same routed frame before the next frame comes.
Needs no torch, so that it runs where another wheel of ONNX Runtime is installed.
"""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from cad_edge.dataset import read_product
from cad_edge.errors import CadEdgeError, OptionError
from cad_edge.image import Frame, ImageRecipe, decode_image
from cad_edge.stream import Stream, read_stream
from cad_edge_benchmarks.evaluate_command import evaluate_stream, evaluation_result
from cad_edge_benchmarks.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.open_data import REPOSITORY
from cad_edge_benchmarks.stopwatch import latency_of, ratio_of, take_turns
from cad_edge_benchmarks.tables import figure, text_table, write_result
from cad_edge_runtime import Detector

FRAMES_PER_TASK = 5
_FIGURES = ("image_auroc", "pixel_auroc", "false_reject_rate", "detection_rate")


@dataclass(frozen=True)
class Variant:
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


@click.command("variants")
@click.argument("written", nargs=-1, required=True, metavar="NAME=BUNDLE[@DEVICE]...")
@click.option("--stream", "stream_file", required=True, type=click.Path(path_type=Path))
@click.option("--rounds", type=click.IntRange(min=20), default=400, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the figures there.")
def main(
    written: tuple[str, ...], stream_file: Path, rounds: int, threads: int, out: Path | None
) -> None:
    """Time the variants in turns and evaluate each on the stream."""
    try:
        variants = [Variant.parse(text) for text in written]
        result = measure(variants, read_stream(stream_file), rounds, threads)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    click.echo(variants_table(result))
    if out is not None:
        write_result(out, result)


def measure(
    variants: Sequence[Variant], stream: Stream, rounds: int, threads: int
) -> dict[str, object]:
    """Time and evaluate.

    Parameters
    ----------
    variants
        At least one; names differ. The first is the reference.
    stream
        Every task of it must be in every bundle.
    rounds
        Frames that count, per variant.
    threads
        Of every detector.

    Returns
    -------
    The result as it is written: ``variants`` by name, each with its latency in milliseconds, its
    time over the reference's (``to_first``, round by round) and its figures by task.

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
        detectors = {
            variant.name: stack.enter_context(
                Detector.open(variant.bundle, device=variant.device, threads=threads, watch=False)
            )
            for variant in variants
        }
        first = detectors[variants[0].name]
        frames = spread_frames(stream, first.manifest.selector.engine.recipe)
        turns = _Turns(frames)
        times = take_turns(
            {
                name: (lambda detector=detector, lead=detector is first: turns.run(detector, lead))
                for name, detector in detectors.items()
            },
            rounds,
        )
        rows = {
            variant.name: {
                **_described(variant, detectors[variant.name]),
                "latency": asdict(latency_of(times[variant.name])),
                "to_first": asdict(ratio_of(times[variant.name], times[variants[0].name])),
                "evaluation": evaluation_result(
                    evaluate_stream(detectors[variant.name], stream)
                ),
            }
            for variant in variants
        }
    return {
        "stream": stream.name,
        "commit": commit_of(REPOSITORY),
        "machine": describe_machine(),
        "versions": versions(),
        "threads": threads,
        "rounds": rounds,
        "frames": len(frames),
        "variants": rows,
    }


def spread_frames(stream: Stream, recipe: ImageRecipe) -> list[Frame]:
    """Test images of every task at the recipe's size, products in turn.

    They come from the whole length of each task's list, so that good and defective ones are among
    them.
    """
    chosen = []
    for task in stream.tasks:
        items = read_product(task.path, task.layout).test
        step = max(1, len(items) // FRAMES_PER_TASK)
        chosen.append([recipe.apply(decode_image(item.path)) for item in items[::step]])
    return [
        frame
        for some in itertools.zip_longest(*(frames[:FRAMES_PER_TASK] for frames in chosen))
        for frame in some
        if frame is not None
    ]


class _Turns:
    """The frame that all variants inspect before the next one comes."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = itertools.cycle(frames)
        self._current = frames[0]

    def run(self, detector: Detector, lead: bool) -> object:
        if lead:
            self._current = next(self._frames)
        return detector.detect(self._current)


def _described(variant: Variant, detector: Detector) -> dict[str, object]:
    """What the variant was: precision, device, and how many layers stayed in float."""
    engines = [detector.manifest.selector.engine]
    engines += [task.engine for task in detector.manifest.tasks.values()]
    return {
        "device": detector.device,
        "precision": sorted({engine.precision for engine in engines}),
        "graphs": sorted({stage.graph for engine in engines for stage in engine.stages}),
    }


def variants_table(result: Mapping[str, object]) -> str:
    """Lay out for a terminal: milliseconds, times faster than the first, figures."""
    head = ["variant", "p50 ms", "p90 ms", "times faster", *(name.replace("_", " ") for name in _FIGURES)]
    rows = []
    for name, row in result["variants"].items():
        mean = row["evaluation"]["mean"]
        rows.append(
            [
                name,
                figure(row["latency"]["p50"]),
                figure(row["latency"]["p90"]),
                figure(1 / row["to_first"]["median"], 2),
                *(figure(mean[one], 4) for one in _FIGURES),
            ]
        )
    return text_table(head, rows)


if __name__ == "__main__":
    main()
