"""Interleaved timing."""

import numpy as np
import pytest

from cad_edge_benchmarks.instruments.interleaved_timing import (
    WARM_UP_ROUNDS,
    in_rounds,
    latency_of,
    ratio_of,
    take_turns,
)


def test_subjects_take_turns():
    calls = []
    times = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=5)
    assert "".join(calls) == "ab" * (len(calls) // 2)
    assert len(calls) >= 2 * (5 + WARM_UP_ROUNDS)
    assert {name: len(values) for name, values in times.items()} == {"a": 5, "b": 5}


def test_what_subjects_return_is_kept_but_for_the_warm_up():
    numbers = {"a": iter(range(5)), "b": iter(range(10, 15))}
    subjects = {name: values.__next__ for name, values in numbers.items()}
    found = in_rounds(subjects, rounds=3, warm_up=2, warm_up_seconds=0.0)
    assert found == {"a": [2, 3, 4], "b": [12, 13, 14]}


def test_latency_by_hand():
    times = np.arange(1, 101, dtype=np.int64) * 1_000_000
    latency = latency_of(times)
    assert (latency.p50, latency.minimum, latency.maximum) == (50.5, 1.0, 100.0)
    assert latency.p99 is None
    assert latency_of(np.tile(times, 10)).p99 == pytest.approx(99.0, abs=1)


def test_the_ratio_is_taken_round_by_round():
    """A disturbance that hits both subjects of a round leaves their ratio alone."""
    base = np.array([100, 100, 900, 100], dtype=np.int64)
    ratio = ratio_of(base * 2, base)
    assert (ratio.lower_quartile, ratio.median, ratio.upper_quartile) == (2.0, 2.0, 2.0)
