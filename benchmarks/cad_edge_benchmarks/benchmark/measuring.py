"""From an order to a report."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cad_edge.errors import BundleError, ImageError
from cad_edge_benchmarks.benchmark.accept_all import lenient_version
from cad_edge_benchmarks.benchmark.comparison import compare
from cad_edge_benchmarks.benchmark.previous_report import Earlier
from cad_edge_benchmarks.benchmark.scenarios import run_scenarios
from cad_edge_benchmarks.instruments.budgets import judge_budgets
from cad_edge_benchmarks.instruments.conditions import Settings
from cad_edge_benchmarks.instruments.context import Rig
from cad_edge_benchmarks.instruments.environment import describe_bundle, describe_environment
from cad_edge_benchmarks.instruments.frames import (
    Picture,
    Pictures,
    read_pictures,
    synthetic_pictures,
)
from cad_edge_benchmarks.instruments.meters import find_meter, load_nvml
from cad_edge_benchmarks.instruments.report_schema import Report
from cad_edge_benchmarks.instruments.timing import Pace
from cad_edge_runtime import Detector
from cad_edge_runtime.device import Device


@dataclass(frozen=True)
class Order:
    """What is to be measured and held against what."""

    bundle: Path
    settings: Settings
    images: Path | None
    depth: Path | None
    """Folder with the depth of ``images``."""
    threads_asked: bool
    skip: bool
    """Whether scenarios that do not fit the bundle are left out."""
    budget_ms: float | None
    budget_mb: float | None
    against: Earlier | None


def measure(order: Order, announce: Callable[[str], None]) -> Report:
    """Run what was ordered.

    Raises
    ------
    CadEdgeError
        The bundle, the images or the device cannot be used.
    """
    device, pictures = _open(order)
    nvml = load_nvml()
    meter = find_meter(nvml, _gpu_index(order.settings.device, device))
    environment = describe_environment(nvml)
    with tempfile.TemporaryDirectory(prefix="cad-edge-benchmark-") as place:
        rig = _rig(order, pictures, Path(place))
        found = run_scenarios(rig, order.settings.scenarios, meter, order.skip, announce)
    report = Report(
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        settings=order.settings,
        bundle=describe_bundle(order.bundle),
        environment=environment,
        device=device,
        provider=Device(device, strict=False).provider,
        frames=pictures.facts,
        scenarios=found.scenarios,
        scale=found.scale,
        skipped=found.skipped,
        memory=found.memory,
        budgets=[],
        comparison=None,
    )
    return _judged(report, order)


def _rig(order: Order, pictures: Pictures, place: Path) -> Rig:
    """Set up what the scenarios run on; synthetic frames are shown to a lenient version."""
    settings, bundle = order.settings, order.bundle
    return Rig(
        bundle=bundle if pictures.are_real else lenient_version(bundle, place / "lenient"),
        pictures=pictures,
        pace=Pace(settings.seconds, settings.samples),
        device=settings.device,
        threads=settings.threads,
        threads_asked=order.threads_asked,
        streams=settings.streams,
        tasks=tuple(settings.tasks),
        seed=settings.seed,
        place=place,
    )


def _open(order: Order) -> tuple[str, Pictures]:
    """Open the bundle once, before anything is measured: what it runs on, and its frames."""
    settings = order.settings
    pictures = None if order.images is None else read_pictures(order.images, order.depth)
    with Detector.open(order.bundle, settings.device, settings.threads, watch=False) as detector:
        if not detector.tasks():
            raise BundleError(f"{order.bundle} holds no task to measure; train and export one")
        manifest = detector.manifest
        looks = any(entry.depth is not None for entry in manifest.tasks.values())
        engines = [manifest.selector.engine, *(entry.engine for entry in manifest.tasks.values())]
        recipe = max((one.recipe for one in engines), key=lambda size: size.width * size.height)
        pictures = pictures or synthetic_pictures(recipe, settings.seed, looks)
        # Synthetic depth is in no range but that of a lenient version.
        if pictures.are_real or not looks:
            _show(pictures.shown if looks else pictures.shown[:1], detector)
        return detector.device, pictures


def _show(pictures: Sequence[Picture], detector: Detector) -> None:
    """Show pictures once; raise ImageError with the name of one whose depth is not accepted."""
    for picture in pictures:
        try:
            picture.inspected(detector)
        except ImageError as problem:
            raise ImageError(f"{picture.path}: {problem}") from None


def _gpu_index(asked: str, device: str) -> int | None:
    """Return the number of the GPU that the graphs run on, None where it is none."""
    number = asked.partition(":")[2]
    return int(number or 0) if device in ("cuda", "tensorrt") else None


def _judged(report: Report, order: Order) -> Report:
    """Add budgets and comparison."""
    budgets = judge_budgets(
        order.budget_ms, order.budget_mb, report.scenario("single-stream"), report.memory
    )
    against = compare(report, order.against) if order.against is not None else None
    return report.model_copy(update={"budgets": budgets, "comparison": against})
