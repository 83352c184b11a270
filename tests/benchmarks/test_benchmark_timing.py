"""How long is timed, and what times come to."""

import numpy as np
import pytest

from cad_edge_benchmarks.benchmark.hot_load import FrameLoop
from cad_edge_benchmarks.instruments.interleaved_timing import WARM_UP_ROUNDS
from cad_edge_benchmarks.instruments.timing import (
    Series,
    TimingPlan,
    distribution,
    in_turns,
    measurement,
    stage_times,
)
from cad_edge_runtime.detection import Detection, Timings

MILLISECOND = 1_000_000


def answer(verdict, timings, similarity=0.9):
    known = verdict != "unknown_product"
    return Detection(
        task="red" if known else None,
        similarity=similarity,
        nearest="red",
        runner_up=None,
        verdict=verdict,
        score=1.0 if known else None,
        probability=None,
        calibrated_score=None,
        p_value=None,
        threshold=None,
        false_reject_supported=None,
        depth_used=False,
        anomaly_map=None,
        defects=(),
        size=(8, 8),
        version=1,
        timings=Timings(*timings),
    )


def test_a_distribution_keeps_percentiles_and_stretches_in_order_of_time():
    found = distribution(np.arange(1, 101, dtype=np.int64) * MILLISECOND)
    assert (found.samples, found.p50, found.minimum, found.maximum) == (100, 50.5, 1.0, 100.0)
    assert found.p90 == pytest.approx(90.1)  # linear between the 90th and the 91st of 100
    assert found.stretches == [5.5 + 10 * tenth for tenth in range(10)]
    assert (found.curve[0], found.curve[10], found.curve[-1]) == (1.0, 50.5, 100.0)


@pytest.mark.parametrize(("samples", "told"), [(999, False), (1000, True)])
def test_p99_needs_a_thousand_samples(samples, told):
    found = distribution(np.full(samples, MILLISECOND, dtype=np.int64))
    assert (found.p99 == 1.0) if told else (found.p99 is None)


def test_few_samples_are_their_own_stretches():
    assert distribution(np.array([3, 1, 2]) * MILLISECOND).stretches == [3.0, 1.0, 2.0]


def test_subjects_take_turns_after_a_warm_up_until_samples_and_time_are_reached():
    seen = []
    series = in_turns(
        {"a": lambda number: seen.append(("a", number)), "b": lambda number: seen.append("b")},
        TimingPlan(seconds=0.0, samples=30),
    )
    assert [len(one.nanoseconds) for one in series.values()] == [30, 30]
    measured = seen[-60:]
    assert measured[::2] == [("a", number) for number in range(30)]
    assert measured[1::2] == ["b"] * 30
    assert len(seen) - 60 >= 2 * WARM_UP_ROUNDS
    longer = in_turns({"a": lambda number: None}, TimingPlan(seconds=0.05, samples=1))["a"]
    assert longer.times.sum() <= 0.05e9 < 0.05e9 + longer.times.max()
    assert len(longer.nanoseconds) > 1


def test_stages_are_those_of_inspected_frames():
    series = Series()
    series.add(MILLISECOND, answer("normal", (0.001, 0.002, 0.003, 0.004)))
    series.add(MILLISECOND, answer("unknown_product", (9.0, 9.0, 0.0, 0.0)))
    found = measurement("routed", series, np.array([5, 5]) * MILLISECOND)
    times = {name: time.p50 for name, time in found.stages.items()}
    assert times == pytest.approx(
        {"decode": 5.0, "resize": 1.0, "select": 2.0, "detect": 3.0, "post": 4.0}
    )
    assert list(times) == ["decode", "resize", "select", "detect", "post"]
    assert found.verdicts == {"normal": 1, "unknown_product": 1}
    assert found.frames_per_second == pytest.approx(1000.0)


def test_refused_frames_alone_have_no_engine_and_given_ones_no_selection():
    refused, given = Series(), Series()
    refused.add(1, answer("unknown_product", (0.001, 0.002, 0.0, 0.0)))
    given.add(1, answer("normal", (0.001, 0.0, 0.003, 0.004), similarity=None))
    assert list(stage_times(refused, None)) == ["resize", "select"]
    assert list(stage_times(given, None)) == ["resize", "detect", "post"]


def test_frames_are_wrong_where_the_version_alone_answers_otherwise():
    loop = FrameLoop(None, [])
    for number, verdict in enumerate(["normal", "anomalous", "normal"]):
        loop.inspected.append(((0, 1), number, answer(verdict, (0, 0, 0, 0))))
    good, bad = ("red", "normal", 1.0), ("red", "anomalous", 1.0)
    assert loop.wrong({1: [good, bad, good]}) == 0
    assert loop.wrong({1: [good, good, ("red", "normal", 1.5)]}) == 2


def test_a_batch_counts_all_its_frames():
    series = Series()
    series.add(10 * MILLISECOND, [answer("normal", (0, 0, 0, 0))] * 4)
    found = measurement("batch of 4", series, frames=4)
    assert found.frames_per_second == pytest.approx(400.0)
    assert found.verdicts == {"normal": 4}
