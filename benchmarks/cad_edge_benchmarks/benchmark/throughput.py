"""Scenarios that count frames per second: offline in batches, and several streams at once."""

import threading
import time
from functools import partial

from cad_edge_benchmarks.benchmark.single_stream import refusals
from cad_edge_benchmarks.instruments.context import Rig
from cad_edge_benchmarks.instruments.frames import Pictures
from cad_edge_benchmarks.instruments.report_schema import Figure, ScenarioResult
from cad_edge_benchmarks.instruments.timing import Pace, Series, in_turns, measurement
from cad_edge_runtime import Detection, Detector
from cad_edge_runtime.session import available_cores

BATCHES = (1, 2, 4, 8, 16)
_BATCHES = 10  # of each size, at least


def offline(rig: Rig) -> ScenarioResult:
    """Inspect frames that are all there in batches of rising size."""
    found = []
    with rig.open() as detector:
        for size in BATCHES:
            pace = Pace(rig.pace.seconds / len(BATCHES), max(_BATCHES, rig.pace.samples // size))
            run = partial(_batch, detector, rig.pictures, size)
            series = in_turns({"batch": run}, pace)["batch"]
            found.append(measurement(f"batch of {size}", series, frames=size))
    best = max(found, key=lambda one: one.frames_per_second)
    return ScenarioResult(
        scenario="offline",
        headline=best.name,
        measurements=found,
        figures=[Figure(name="throughput", value=best.frames_per_second, unit="frames/s")],
        notes=[
            "Latencies are those of whole batches, of which the runtime takes 16 frames at a time; "
            "stages are per frame.",
            *refusals(found[0]),
        ],
    )


def _batch(detector: Detector, pictures: Pictures, size: int, number: int) -> list[Detection]:
    """Inspect the next ``size`` frames together."""
    shown = [pictures[number * size + at] for at in range(size)]
    return detector.detect_batch([one.rgb for one in shown], depths=[one.depth for one in shown])


def multi_stream(rig: Rig) -> ScenarioResult:
    """Let several callers, each with a stream of its own, share one detector."""
    threads = rig.threads if rig.threads_asked else max(1, available_cores() // rig.streams)
    with rig.open(threads=threads) as detector:
        for picture in rig.pictures.shown:
            picture.inspected(detector)
        callers = [_Caller(detector, rig.pictures, place, rig.pace) for place in range(rig.streams)]
        began = time.perf_counter()
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        seconds = time.perf_counter() - began
    return _callers_result(callers, seconds, threads)


class _Caller(threading.Thread):
    """One stream: inspects frame after frame and keeps what each took."""

    def __init__(self, detector: Detector, pictures: Pictures, place: int, pace: Pace) -> None:
        super().__init__(name=f"stream-{place}", daemon=True)
        self.series = Series()
        self.problem: Exception | None = None
        self._detector, self._pictures, self._place, self._pace = detector, pictures, place, pace

    def run(self) -> None:
        """Inspect until time and samples are reached; the streams start at different frames."""
        began, number = time.perf_counter(), self._place
        try:
            while (
                len(self.series.nanoseconds) < self._pace.samples
                or time.perf_counter() - began < self._pace.seconds
            ):
                before = time.perf_counter_ns()
                found = self._pictures[number].inspected(self._detector)
                self.series.add(time.perf_counter_ns() - before, found)
                number += 1
        except Exception as problem:  # raised again where the streams are joined
            self.problem = problem


def _callers_result(callers: list[_Caller], seconds: float, threads: int) -> ScenarioResult:
    for caller in callers:
        if caller.problem is not None:
            raise caller.problem
    together = Series(routed=any(caller.series.routed for caller in callers))
    # Frame by frame in turns, so that the stretches of the run stay stretches of time.
    for place in range(max(len(caller.series.nanoseconds) for caller in callers)):
        for caller in callers:
            together.nanoseconds.extend(caller.series.nanoseconds[place : place + 1])
    for caller in callers:
        together.inspected.extend(caller.series.inspected)
        together.refused.extend(caller.series.refused)
        together.verdicts.update(caller.series.verdicts)
    rate = len(together.nanoseconds) / seconds
    name = f"{len(callers)} streams"
    found = measurement(name, together).model_copy(update={"frames_per_second": rate})
    return ScenarioResult(
        scenario="multi-stream",
        headline=name,
        measurements=[found],
        figures=[
            Figure(name="all streams together", value=rate, unit="frames/s"),
            Figure(name="threads of each graph", value=threads, unit=""),
        ],
        notes=[
            "Each stream is a thread that shows its next frame as soon as the last is answered; a "
            "latency is what one stream waits for one frame beside the others."
        ],
    )
