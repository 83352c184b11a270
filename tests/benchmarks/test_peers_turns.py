"""Turns between processes, with two real workers of cad-edge."""

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.interleaved_timing import WARM_UP_ROUNDS
from cad_edge_studies.peers.interleaving import Subject, take_turns_between
from cad_edge_studies.peers.workers import (
    Inspected,
    Launch,
    Turn,
    Worker,
    last_line,
    run_script,
    seconds_to_first_verdict,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
KINDS = ("red.good", "green.bad", "blue.good")


@pytest.fixture
def frames(tmp_path) -> Path:
    found = load_file(GOLDEN / "frames.safetensors")
    np.save(tmp_path / "frames.npy", np.concatenate([found[kind][:1] for kind in KINDS]))
    return tmp_path / "frames.npy"


@pytest.fixture
def launch(tmp_path, frames):
    def describe(name: str, bundle: Path = GOLDEN / "bundle") -> Launch:
        module = "cad_edge_studies.peers.cad_edge_worker"
        command = (sys.executable, "-m", module, str(bundle), str(frames), "1")
        return Launch(name, command, tmp_path / name, {"OMP_NUM_THREADS": "1"})

    return describe


class Recorded(Worker):
    """A real worker that writes down whose turn it was."""

    def __init__(self, launch: Launch, diary: list[tuple[str, Turn]]) -> None:
        super().__init__(launch)
        self._own_name, self._diary = launch.name, diary

    def ask(self, turn: Turn) -> list[Inspected]:
        self._diary.append((self._own_name, turn))
        return super().ask(turn)


def test_two_processes_take_turns_on_the_same_frames(launch):
    diary: list[tuple[str, Turn]] = []
    with Recorded(launch("a"), diary) as a, Recorded(launch("b"), diary) as b:
        subjects = {
            "routed": Subject(a, (None, None, None)),
            "given": Subject(b, ("red", "green", "blue")),
        }
        times = take_turns_between(subjects, rounds=6, rest=0)
        assert a.memory().uss > 0 and a.memory() != b.memory()
    assert "".join(name for name, _ in diary) == "ab" * (WARM_UP_ROUNDS + 6)
    assert [turn.frames for _, turn in diary[:8:2]] == [(0, 1), (2, 0), (1, 2), (0, 1)]
    assert [turn.frames for _, turn in diary[::2]] == [turn.frames for _, turn in diary[1::2]]
    assert diary[1][1].tasks == ("red", "green") and diary[0][1].tasks == (None, None)
    for found in times.values():
        assert found.rested.shape == found.following.shape == (6,)
        assert min(found.rested.min(), found.following.min()) > 0
        # Of 12 frames that count four are the defective one.
        assert found.verdicts == {"anomalous": 4, "normal": 8}
        assert found.map == (16, 16)


def test_start_to_first_verdict_holds_the_import(launch):
    started = seconds_to_first_verdict(launch("a"), Turn((0,), (None,)))
    with Worker(launch("b")) as worker:
        worker.ask(Turn((0,), (None,)))
        frame = worker.ask(Turn((0,), (None,)))[0].ns / 1e9
    assert started > 10 * frame


def test_a_worker_that_fails_is_said_with_its_reason(launch, tmp_path):
    with (
        pytest.raises(CadEdgeError, match=r"the worker a failed: .*nowhere is not a bundle"),
        Worker(launch("a", tmp_path / "nowhere")) as worker,
    ):
        worker.ask(Turn((0,), (None,)))


def test_a_worker_that_fails_later_is_said_too(launch):
    with Worker(launch("a")) as worker:
        assert worker.ask(Turn((0,), ("red",)))[0].verdict == "normal"
        with pytest.raises(CadEdgeError, match=r"the worker a failed: .*UnknownTask"):
            worker.ask(Turn((0,), ("purple",)))


def test_frames_without_a_map_are_no_comparison(launch, tmp_path):
    """A bundle that refuses every frame would look fast."""
    np.save(tmp_path / "frames.npy", np.zeros((1, 32, 32, 3), np.uint8))
    with Worker(launch("a")) as worker:
        assert worker.ask(Turn((0,), (None,)))[0] == Inspected(
            pytest.approx(0, abs=10**10), "unknown_product", None
        )
        with pytest.raises(CadEdgeError, match="gave maps of 0 sizes"):
            take_turns_between({"a": Subject(worker, (None,))}, rounds=1, rest=0)


def test_a_script_that_fails_is_said_by_its_module(tmp_path):
    command = [sys.executable, "-m", "cad_edge_studies.peers.cad_edge_worker", "x", "y", "1"]
    with pytest.raises(CadEdgeError, match=r"^cad_edge_studies.peers.cad_edge_worker failed: "):
        run_script(command, tmp_path, {})
    assert run_script([sys.executable, "-c", "print(7)"], tmp_path / "new", {}) == "7\n"


def test_last_line():
    assert last_line("first\nlast\n\n") == "last"
    assert last_line("\n") == "it said nothing"
