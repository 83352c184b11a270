"""Turns between worker processes, with two real ones of cad-edge."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments import inspection_turns
from cad_edge_benchmarks.instruments.inspection_turns import (
    Inspected,
    Subject,
    detector_launch,
    inspect,
    take_turns_between,
)
from cad_edge_benchmarks.instruments.interleaved_timing import WARM_UP_ROUNDS
from cad_edge_benchmarks.instruments.subprocess_worker import Launch, Worker, run, run_python
from cad_edge_studies.peers.time_and_memory import seconds_to_first_verdict

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
KINDS = ("red.good", "green.bad", "blue.good")


@pytest.fixture
def frames(tmp_path) -> Path:
    found = load_file(GOLDEN / "frames.safetensors")
    np.save(tmp_path / "frames.npy", np.concatenate([found[kind][:1] for kind in KINDS]))
    return tmp_path / "frames.npy"


@pytest.fixture
def launch(tmp_path, frames) -> Launch:
    return detector_launch(GOLDEN / "bundle", frames, 1, tmp_path / "worker")


@pytest.fixture
def without_rest(monkeypatch):
    monkeypatch.setattr(inspection_turns, "REST_SECONDS", 0)


class Recorded(Worker):
    """A real worker that writes down whose turn it was."""

    def __init__(self, name: str, launch: Launch, diary: list[tuple[str, dict]]) -> None:
        super().__init__(launch)
        self._own_name, self._diary = name, diary

    def ask(self, request):
        self._diary.append((self._own_name, request))
        return super().ask(request)


def test_two_processes_take_turns_on_the_same_frames(launch, without_rest):
    diary: list[tuple[str, dict]] = []
    with Recorded("a", launch, diary) as a, Recorded("b", launch, diary) as b:
        subjects = {
            "routed": Subject(a, (None, None, None)),
            "given": Subject(b, ("red", "green", "blue")),
        }
        times = take_turns_between(subjects, rounds=6)
        assert a.memory().uss > 0 and a.memory() != b.memory()
        assert a.peak() >= a.memory().rss
    assert "".join(name for name, _ in diary) == "ab" * (WARM_UP_ROUNDS + 6)
    shown = [request["frames"] for _, request in diary]
    assert shown[:8:2] == [(0, 1), (2, 0), (1, 2), (0, 1)]
    assert shown[::2] == shown[1::2]
    assert diary[1][1]["tasks"] == ("red", "green") and diary[0][1]["tasks"] == (None, None)
    for found in times.values():
        assert found.rested.shape == found.following.shape == (6,)
        assert min(found.rested.min(), found.following.min()) > 0
        # Of 12 frames that count four are the defective one.
        assert found.verdicts == {"anomalous": 4, "normal": 8}
        assert found.map == (16, 16)
        described = found.latencies()
        assert described["rested"]["maximum"] == pytest.approx(found.rested.max() / 1e6)
        assert described["following"]["minimum"] == pytest.approx(found.following.min() / 1e6)


def test_a_turn_comes_after_a_rest(launch, monkeypatch):
    slept = []
    monkeypatch.setattr(inspection_turns.time, "sleep", slept.append)
    with Worker(launch) as worker:
        take_turns_between({"a": Subject(worker, (None, None))}, rounds=2, warm_up=1)
    assert slept == [inspection_turns.REST_SECONDS] * 3


def test_start_to_first_verdict_holds_the_import(launch):
    started = seconds_to_first_verdict(launch)
    with Worker(launch) as worker:
        inspect(worker, (0,))
        frame = inspect(worker, (0,))[0].ns / 1e9
    assert started > 10 * frame


def test_a_worker_that_fails_is_said_with_its_reason(tmp_path, frames):
    nowhere = detector_launch(tmp_path / "nowhere", frames, 1, tmp_path / "worker")
    with (
        pytest.raises(CadEdgeError, match=r"^nowhere failed: .*nowhere is not a bundle"),
        Worker(nowhere) as worker,
    ):
        inspect(worker, (0,))


def test_a_worker_that_fails_later_is_said_too(launch):
    with Worker(launch) as worker:
        assert inspect(worker, (0,), ("red",))[0].verdict == "normal"
        with pytest.raises(CadEdgeError, match=r"^bundle failed: .*UnknownTask"):
            inspect(worker, (0,), ("purple",))


def test_frames_without_a_map_are_no_comparison(launch, frames, without_rest):
    """A bundle that refuses every frame would look fast."""
    np.save(frames, np.zeros((1, 32, 32, 3), np.uint8))
    with Worker(launch) as worker:
        assert inspect(worker, (0,))[0] == Inspected(
            pytest.approx(0, abs=10**10), "unknown_product", None
        )
        with pytest.raises(CadEdgeError, match="gave maps of 0 sizes"):
            take_turns_between({"a": Subject(worker, (None,))}, rounds=1)


def test_a_process_runs_in_its_place_with_its_variables(tmp_path):
    code = "import os; print(os.getcwd(), os.environ['COLOUR'])"
    launch = Launch("the script", ("-c", code), tmp_path / "new", {"COLOUR": "red"})
    assert run(launch) == f"{tmp_path / 'new'} red\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('first\\nError: it is broken\\n\\n')", "it is broken"),
        ("import sys; sys.exit(3)", "it ended with 3"),
    ],
)
def test_a_process_that_fails_is_said_by_its_name_and_its_last_line(code, said):
    with pytest.raises(CadEdgeError, match=f"^the script failed: {said}$"):
        run_python("the script", "-c", code)
