"""From a request to a report."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cad_edge.errors import BundleError, ImageError
from cad_edge_benchmarks.benchmark.accept_all import accept_all_version
from cad_edge_benchmarks.benchmark.comparison import PreviousReport, compare
from cad_edge_benchmarks.benchmark.scenarios import run_scenarios
from cad_edge_benchmarks.instruments.budgets import judge_budgets
from cad_edge_benchmarks.instruments.conditions import BenchmarkSettings
from cad_edge_benchmarks.instruments.context import BenchmarkContext
from cad_edge_benchmarks.instruments.environment import describe_bundle, describe_environment
from cad_edge_benchmarks.instruments.frames import (
    ShownFrame,
    ShownFrames,
    read_frames,
    synthetic_frames,
)
from cad_edge_benchmarks.instruments.meters import find_meter, load_nvml
from cad_edge_benchmarks.instruments.report_schema import BenchmarkReport
from cad_edge_runtime import Detector
from cad_edge_runtime.device import Device


@dataclass(frozen=True)
class BenchmarkRequest:
    """What is to be measured and held against what."""

    bundle: Path
    settings: BenchmarkSettings
    images: Path | None
    depth: Path | None
    """Folder with the depth of ``images``."""
    threads_asked: bool
    budget_ms: float | None
    budget_mb: float | None
    against: PreviousReport | None


def measure(request: BenchmarkRequest, announce: Callable[[str], None]) -> BenchmarkReport:
    """Run the scenarios that are asked for.

    Raises
    ------
    CadEdgeError
        The bundle, the images or the device cannot be used.
    """
    settings, bundle = request.settings, request.bundle
    device, frames = _open(request)
    nvml = load_nvml()
    meter = find_meter(nvml, _gpu_index(settings.device, device))
    environment = describe_environment(nvml)
    with tempfile.TemporaryDirectory(prefix="cad-edge-benchmark-") as temporary:
        place = Path(temporary)
        shown_to = bundle if frames.are_real else accept_all_version(bundle, place / "accept-all")
        context = BenchmarkContext(shown_to, frames, settings, request.threads_asked, place)
        found = run_scenarios(context, settings.scenarios, meter, announce)
    report = BenchmarkReport(
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        settings=settings,
        bundle=describe_bundle(bundle),
        environment=environment,
        device=device,
        provider=Device(device, strict=False).provider,
        frames=frames.facts,
        scenarios=found.scenarios,
        scale=found.scale,
        skipped=found.skipped,
        memory=found.memory,
        budgets=[],
        comparison=None,
    )
    budgets = judge_budgets(
        request.budget_ms, request.budget_mb, report.scenario("single-stream"), report.memory
    )
    against = compare(report, request.against) if request.against is not None else None
    return report.model_copy(update={"budgets": budgets, "comparison": against})


def _open(request: BenchmarkRequest) -> tuple[str, ShownFrames]:
    """Open the bundle once, before anything is measured: what it runs on, and its frames."""
    settings = request.settings
    frames = None if request.images is None else read_frames(request.images, request.depth)
    with Detector.open(request.bundle, settings.device, settings.threads, watch=False) as detector:
        if not detector.tasks():
            raise BundleError(f"{request.bundle} holds no task to measure; train and export one")
        manifest = detector.manifest
        looks = any(entry.depth is not None for entry in manifest.tasks.values())
        engines = [manifest.selector.engine, *(entry.engine for entry in manifest.tasks.values())]
        recipe = max((one.recipe for one in engines), key=lambda size: size.width * size.height)
        frames = frames or synthetic_frames(recipe, settings.seed, looks)
        # Synthetic depth is in no range but that of the version that accepts all.
        if frames.are_real or not looks:
            _show(frames.shown if looks else frames.shown[:1], detector)
        return detector.device, frames


def _show(frames: Sequence[ShownFrame], detector: Detector) -> None:
    """Show frames once; raise ImageError with the name of one whose depth is not accepted."""
    for frame in frames:
        try:
            frame.inspected(detector)
        except ImageError as problem:
            raise ImageError(f"{frame.path}: {problem}") from None


def _gpu_index(asked: str, device: str) -> int | None:
    """Return the number of the GPU that the graphs run on, None where it is none."""
    number = asked.partition(":")[2]
    return int(number or 0) if device in ("cuda", "tensorrt") else None
