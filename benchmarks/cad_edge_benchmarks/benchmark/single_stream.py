"""Scenarios in which one frame follows another: single-stream and switch."""

from collections import defaultdict

from cad_edge.data.image import decode_image
from cad_edge.errors import OptionError
from cad_edge_benchmarks.benchmark.selection import Choosing
from cad_edge_benchmarks.instruments.context import Rig
from cad_edge_benchmarks.instruments.frames import Picture, Pictures
from cad_edge_benchmarks.instruments.interleaved_timing import ratio_of
from cad_edge_benchmarks.instruments.report_schema import Figure, Measurement, ScenarioResult
from cad_edge_benchmarks.instruments.timing import Pace, Series, Subject, in_turns, measurement
from cad_edge_runtime import Detector

ROUTED = "routed"
GIVEN = "task given"
FROM_FILE = "file to verdict"
SELECTION = "selection alone"
SWITCHED = "after another product"
STAYED = "after the same product"
_SELECTION_SECONDS = 0.5


def single_stream(rig: Rig) -> ScenarioResult:
    """Inspect one frame after another, the next as soon as the last is answered."""
    pictures = rig.pictures
    with rig.open() as detector:
        series = in_turns(_single_stream_subjects(detector, pictures), rig.pace)
    decode = series["decode"].times if pictures.are_real else None
    found = [
        measurement(ROUTED, series[ROUTED], decode),
        measurement(GIVEN, series[GIVEN], decode),
    ]
    if decode is not None:
        whole = Series([int(value) for value in decode + series[ROUTED].times])
        found.append(measurement(FROM_FILE, whole))
    if (choosing := _choosing(rig)) is not None:
        pace = Pace(min(rig.pace.seconds, _SELECTION_SECONDS), rig.pace.samples)
        found.append(measurement(SELECTION, in_turns({SELECTION: choosing.run}, pace)[SELECTION]))
    return ScenarioResult(
        scenario="single-stream",
        headline=ROUTED,
        measurements=found,
        figures=[],
        notes=refusals(found[0]),
    )


def _single_stream_subjects(detector: Detector, pictures: Pictures) -> dict[str, Subject]:
    products = _products(detector, pictures)
    subjects: dict[str, Subject] = {
        ROUTED: lambda number: pictures[number].inspected(detector),
        GIVEN: lambda number: pictures[number].inspected(
            detector, products[number % len(products)]
        ),
    }
    if not pictures.are_real:
        return subjects
    paths = [picture.path for picture in pictures.shown if picture.path is not None]
    return {"decode": lambda number: decode_image(paths[number % len(paths)]), **subjects}


def _products(detector: Detector, pictures: Pictures) -> list[str]:
    """Product of each picture: of an image as it looks most, of synthetic ones all in turn."""
    if not pictures.are_real:
        names = detector.tasks()
        return [names[number % len(names)] for number in range(len(pictures.shown))]
    found = [picture.inspected(detector) for picture in pictures.shown]
    return [one.nearest or detector.tasks()[0] for one in found]


def _choosing(rig: Rig) -> Choosing | None:
    snapshot = rig.snapshot()
    return Choosing(snapshot, rig.pictures[0].rgb) if snapshot.selector is not None else None


def refusals(routed: Measurement) -> list[str]:
    """Say where refused frames make a measurement look cheaper than an inspected frame is."""
    refused, total = routed.verdicts.get("unknown_product", 0), sum(routed.verdicts.values())
    if not refused:
        return []
    return [
        f"{refused} of {total} routed frames were refused as an unknown product, which is cheaper "
        "than inspecting them."
    ]


def switch(rig: Rig) -> ScenarioResult:
    """Let the products alternate: every frame after another product, against after its own."""
    with rig.open() as detector:
        products = _products(detector, rig.pictures)
        by_product: dict[str, list[Picture]] = defaultdict(list)
        for product, picture in zip(products, rig.pictures.shown, strict=True):
            by_product[product].append(picture)
        if len(by_product) < 2:
            raise OptionError(
                "the scenario switch needs frames of two products or more, and these show only "
                f"{next(iter(by_product))}; give --images with others"
            )
        series = in_turns(_switch_subjects(detector, by_product, rig.pictures.are_real), rig.pace)
    ratio = ratio_of(series[SWITCHED].times, series[STAYED].times)
    return ScenarioResult(
        scenario="switch",
        headline=SWITCHED,
        measurements=[measurement(name, series[name]) for name in (SWITCHED, STAYED)],
        figures=[
            Figure(name="products", value=len(by_product), unit=""),
            Figure(name="switched against stayed, median", value=ratio.median, unit="x"),
            Figure(name="lower quartile", value=ratio.lower_quartile, unit="x"),
            Figure(name="upper quartile", value=ratio.upper_quartile, unit="x"),
        ],
        notes=refusals(measurement(SWITCHED, series[SWITCHED]))
        if rig.pictures.are_real
        else ["Synthetic frames are given with their task here, one task after another."],
    )


def _switch_subjects(
    detector: Detector, by_product: dict[str, list[Picture]], routed: bool
) -> dict[str, Subject]:
    """Two frames of one product per round, another product in the next round."""
    names = sorted(by_product)

    def run(number: int, offset: int) -> object:
        name = names[number % len(names)]
        shown = by_product[name]
        picture = shown[(number // len(names) + offset) % len(shown)]
        return picture.inspected(detector, None if routed else name)

    return {SWITCHED: lambda number: run(number, 0), STAYED: lambda number: run(number, 1)}
