"""Scenarios in which one frame follows another: single-stream, switch and backbone."""

from collections import defaultdict

from cad_edge.data.depth import to_size
from cad_edge.data.image import decode_image
from cad_edge.errors import OptionError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine
from cad_edge_benchmarks.benchmark.backbone_graph import open_backbone
from cad_edge_benchmarks.benchmark.scaling import SelectionAlone, most_shown
from cad_edge_benchmarks.instruments.context import BenchmarkContext
from cad_edge_benchmarks.instruments.frames import ShownFrame, ShownFrames
from cad_edge_benchmarks.instruments.interleaved_timing import Nanoseconds, ratio_of
from cad_edge_benchmarks.instruments.report_schema import Measurement, NamedFigure, ScenarioResult
from cad_edge_benchmarks.instruments.timing import (
    Series,
    Subject,
    TimingPlan,
    in_turns,
    measurement,
)
from cad_edge_runtime import Detector
from cad_edge_runtime.chain import Values

ROUTED = "routed"
GIVEN = "task given"
FROM_FILE = "file to verdict"
SELECTION = "selection alone"
SWITCHED = "after another product"
STAYED = "after the same product"
BACKBONE = "backbone alone"
BACKBONE_RATIO = "routed / backbone alone"
_SELECTION_SECONDS = 0.5


def single_stream(context: BenchmarkContext) -> ScenarioResult:
    """Inspect one frame after another, the next as soon as the last is answered."""
    frames = context.frames
    with context.open() as detector:
        series = in_turns(_single_stream_subjects(detector, frames), context.plan)
    decode = series["decode"].times if frames.are_real else None
    found = [measurement(name, series[name], decode) for name in (ROUTED, GIVEN)]
    if decode is not None:
        whole = Series([int(value) for value in decode + series[ROUTED].times])
        found.append(measurement(FROM_FILE, whole))
    snapshot = context.snapshot()
    if snapshot.selector is not None:
        alone = SelectionAlone(snapshot, frames[0].rgb)
        plan = TimingPlan(min(context.plan.seconds, _SELECTION_SECONDS), context.plan.samples)
        found.append(measurement(SELECTION, in_turns({SELECTION: alone.run}, plan)[SELECTION]))
    return ScenarioResult(
        scenario="single-stream",
        headline=ROUTED,
        measurements=found,
        figures=[],
        notes=refusals(found[0]),
    )


def _single_stream_subjects(detector: Detector, frames: ShownFrames) -> dict[str, Subject]:
    products = _products(detector, frames)
    subjects: dict[str, Subject] = {
        ROUTED: lambda number: frames[number].inspected(detector),
        GIVEN: lambda number: frames[number].inspected(detector, products[number % len(products)]),
    }
    if not frames.are_real:
        return subjects
    paths = [frame.path for frame in frames.shown if frame.path is not None]
    return {"decode": lambda number: decode_image(paths[number % len(paths)]), **subjects}


def _products(detector: Detector, frames: ShownFrames) -> list[str]:
    """Product of each frame: of an image as it looks most, of synthetic ones all in turn."""
    if not frames.are_real:
        names = detector.tasks()
        return [names[number % len(names)] for number in range(len(frames.shown))]
    found = [frame.inspected(detector) for frame in frames.shown]
    return [one.nearest or detector.tasks()[0] for one in found]


def refusals(routed: Measurement) -> list[str]:
    """Say where refused frames make a measurement look cheaper than an inspected frame is."""
    refused, total = routed.verdicts.get("unknown_product", 0), sum(routed.verdicts.values())
    if not refused:
        return []
    return [
        f"{refused} of {total} routed frames were refused as an unknown product, which is cheaper "
        "than inspecting them."
    ]


def _ratio_figures(name: str, times: Nanoseconds, base: Nanoseconds) -> list[NamedFigure]:
    """Median and quartiles of a ratio, taken round by round."""
    ratio = ratio_of(times, base)
    return [
        NamedFigure(name=f"{name}, median", value=ratio.median, unit="x"),
        NamedFigure(name=f"{name}, lower quartile", value=ratio.lower_quartile, unit="x"),
        NamedFigure(name=f"{name}, upper quartile", value=ratio.upper_quartile, unit="x"),
    ]


def switch(context: BenchmarkContext) -> ScenarioResult:
    """Let the products alternate: every frame after another product, against after its own."""
    frames = context.frames
    with context.open() as detector:
        by_product: dict[str, list[ShownFrame]] = defaultdict(list)
        for product, frame in zip(_products(detector, frames), frames.shown, strict=True):
            by_product[product].append(frame)
        if len(by_product) < 2:
            raise OptionError(
                "the scenario switch needs frames of two products or more, and these show only "
                f"{next(iter(by_product))}; give --images with others"
            )
        series = in_turns(_switch_subjects(detector, by_product, frames.are_real), context.plan)
    ratio = _ratio_figures("switched / stayed", series[SWITCHED].times, series[STAYED].times)
    return ScenarioResult(
        scenario="switch",
        headline=SWITCHED,
        measurements=[measurement(name, series[name]) for name in (SWITCHED, STAYED)],
        figures=[NamedFigure(name="products", value=len(by_product), unit=""), *ratio],
        notes=refusals(measurement(SWITCHED, series[SWITCHED]))
        if frames.are_real
        else ["Synthetic frames are given with their task here, one task after another."],
    )


def _switch_subjects(
    detector: Detector, by_product: dict[str, list[ShownFrame]], routed: bool
) -> dict[str, Subject]:
    """Two frames of one product per round, another product in the next round."""
    names = sorted(by_product)

    def run(number: int, offset: int) -> object:
        name = names[number % len(names)]
        shown = by_product[name]
        frame = shown[(number // len(names) + offset) % len(shown)]
        return frame.inspected(detector, None if routed else name)

    return {SWITCHED: lambda number: run(number, 0), STAYED: lambda number: run(number, 1)}


def backbone(context: BenchmarkContext) -> ScenarioResult:
    """Inspect frames of the input's size in turns with what of them is the backbone.

    Raises
    ------
    OptionError
        No frame shows a known product, or the backbone cannot be cut out of its engine.
    """
    product, frames = most_shown(context)
    with context.open() as detector:
        engine = _engine_of(detector, product, has_depth=frames[0].depth is not None)
        subjects = _backbone_subjects(context, detector, product, engine, frames)
        series = in_turns(subjects, context.plan)
    times = {name: one.times for name, one in series.items()}
    return ScenarioResult(
        scenario="backbone",
        headline=ROUTED,
        measurements=[measurement(name, one) for name, one in series.items()],
        figures=[
            *_ratio_figures(BACKBONE_RATIO, times[ROUTED], times[BACKBONE]),
            *_ratio_figures("task given / backbone alone", times[GIVEN], times[BACKBONE]),
        ],
        notes=[
            f"The frames are those of {product}, brought to the input's size beforehand. The "
            "backbone alone is what of its engine's graphs leads to the last of the backbone's "
            "weights, run as the engine is; where depth passes the backbone as well, with its pass."
        ],
    )


def _engine_of(detector: Detector, product: str, has_depth: bool) -> Engine:
    """Engine that inspects frames of ``product``, which may have depth or not."""
    entry = detector.manifest.tasks[product]
    takes_depth = any("frame/depth" in stage.inputs.values() for stage in entry.engine.stages)
    other = entry.without_depth
    return other.engine if takes_depth and not has_depth and other is not None else entry.engine


def _backbone_subjects(
    context: BenchmarkContext,
    detector: Detector,
    product: str,
    engine: Engine,
    frames: list[ShownFrame],
) -> dict[str, Subject]:
    place, recipe = context.place / "backbone", engine.recipe
    bundle = Bundle(context.bundle)
    chain = open_backbone(bundle, engine, place, context.settings.device, context.settings.threads)
    shown = [
        ShownFrame(
            recipe.apply(one.rgb), None, None if one.depth is None else to_size(one.depth, recipe)
        )
        for one in frames
    ]

    def run_backbone(number: int) -> None:
        frame = shown[number % len(shown)]
        values: Values = {chain.image: frame.rgb[None]}
        if chain.depth is not None and frame.depth is not None:
            values[chain.depth] = frame.depth[None]
        chain.run(values)

    return {
        ROUTED: lambda number: shown[number % len(shown)].inspected(detector),
        GIVEN: lambda number: shown[number % len(shown)].inspected(detector, product),
        BACKBONE: run_backbone,
    }
