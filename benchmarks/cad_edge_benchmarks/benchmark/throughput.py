"""Scenarios that count frames per second: offline in batches, and several streams at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cad_edge_benchmarks.benchmark.single_stream import refusals
from cad_edge_benchmarks.instruments.context import BenchmarkContext
from cad_edge_benchmarks.instruments.frames import ShownFrames
from cad_edge_benchmarks.instruments.report_schema import NamedFigure, ScenarioResult
from cad_edge_benchmarks.instruments.timing import Series, TimingPlan, in_turns, measurement
from cad_edge_runtime import Detection, Detector
from cad_edge_runtime.cores import available_cores

BATCHES = (1, 2, 4, 8, 16)
_BATCHES = 10  # of each size, at least


def offline(context: BenchmarkContext) -> ScenarioResult:
    """Inspect frames that are all there in batches of rising size."""
    found = []
    whole = context.plan
    with context.open() as detector:
        for size in BATCHES:
            plan = TimingPlan(whole.seconds / len(BATCHES), max(_BATCHES, whole.samples // size))
            run = partial(_batch, detector, context.frames, size)
            series = in_turns({"batch": run}, plan)["batch"]
            found.append(measurement(f"batch of {size}", series, frames=size))
    best = max(found, key=lambda one: one.frames_per_second)
    return ScenarioResult(
        scenario="offline",
        headline=best.name,
        measurements=found,
        figures=[NamedFigure(name="throughput", value=best.frames_per_second, unit="frames/s")],
        notes=[
            "Latencies are those of whole batches, of which the runtime takes 16 frames at a time; "
            "stages are per frame.",
            *refusals(found[0]),
        ],
    )


def _batch(detector: Detector, frames: ShownFrames, size: int, number: int) -> list[Detection]:
    """Inspect the next ``size`` frames together."""
    shown = [frames[number * size + at] for at in range(size)]
    return detector.detect_batch([one.rgb for one in shown], depths=[one.depth for one in shown])


def multi_stream(context: BenchmarkContext) -> ScenarioResult:
    """Let several callers, each with a stream of its own, share one detector."""
    streams, threads = context.settings.streams, context.settings.threads
    if not context.threads_asked:
        threads = max(1, available_cores() // streams)
    with context.open(threads=threads) as detector, ThreadPoolExecutor(streams) as pool:
        for frame in context.frames.shown:
            frame.inspected(detector)
        began = time.perf_counter()
        run = partial(_stream, detector, context.frames, context.plan)
        series = list(pool.map(run, range(streams)))
        seconds = time.perf_counter() - began
    together = _merged(series)
    rate = len(together.nanoseconds) / seconds
    name = f"{streams} streams"
    found = measurement(name, together).model_copy(update={"frames_per_second": rate})
    return ScenarioResult(
        scenario="multi-stream",
        headline=name,
        measurements=[found],
        figures=[
            NamedFigure(name="all streams together", value=rate, unit="frames/s"),
            NamedFigure(name="threads of each graph", value=threads, unit=""),
        ],
        notes=[
            "Each stream is a thread that shows its next frame as soon as the last is answered; a "
            "latency is what one stream waits for one frame beside the others."
        ],
    )


def _stream(detector: Detector, frames: ShownFrames, plan: TimingPlan, first: int) -> Series:
    """Inspect from frame ``first`` on until time and samples are reached."""
    series, number = Series(), first
    began = time.perf_counter()
    while len(series.nanoseconds) < plan.samples or time.perf_counter() - began < plan.seconds:
        before = time.perf_counter_ns()
        found = frames[number].inspected(detector)
        series.add(time.perf_counter_ns() - before, found)
        number += 1
    return series


def _merged(streams: list[Series]) -> Series:
    """Merge streams frame by frame in turns, so that stretches of the run stay those of time."""
    together = Series(routed=any(one.routed for one in streams))
    for place in range(max(len(one.nanoseconds) for one in streams)):
        for one in streams:
            together.nanoseconds.extend(one.nanoseconds[place : place + 1])
    for one in streams:
        together.inspected.extend(one.inspected)
        together.refused.extend(one.refused)
        together.verdicts.update(one.verdicts)
    return together
