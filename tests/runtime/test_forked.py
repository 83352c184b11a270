"""Detectors in a child of the process that opened them, dropped ones, and the interpreter's end."""

import gc
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from cad_edge.errors import BundleError
from cad_edge_runtime import Detector

pytestmark = pytest.mark.torchless
FRAMES = Path(__file__).resolve().parents[1] / "golden" / "frames.safetensors"
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

PARENT = """
import os, sys, threading, time
from safetensors.numpy import load_file
from cad_edge.errors import CadEdgeError
from cad_edge_runtime import Detector
frame = load_file(sys.argv[2])["red.good"][0]
detector = Detector.open(sys.argv[1], threads=int(sys.argv[3]), watch=sys.argv[4] == "True")
assert detector.detect(frame).verdict == "normal"
{before}
child = os.fork()
if child == 0:
    began = time.perf_counter()
    try:
{inside}
    except CadEdgeError as problem:
        print(type(problem).__name__, problem, flush=True)
    assert time.perf_counter() - began < 2
    sys.exit(0)
for _ in range(500):
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        break
    time.sleep(0.02)
else:
    os.kill(child, 9)
    print("the child hangs")
print("ended with", status, flush=True)
{after}
print(detector.detect(frame).verdict if detector is not None else "", flush=True)
"""
ELSEWHERE = (
    "BundleError the detector of {} was opened in another process, and threads do not survive a "
    "fork; open it in this process, or start processes by 'spawn' in place of 'fork'"
)


def family(
    bundle: Path, inside: str, before: str = "", after: str = "", threads: int = 2, watch=True
) -> list[str]:
    """What a process and its child say; the code ``inside`` runs in the child."""
    indented = "\n".join(f"        {line}" for line in inside.splitlines())
    code = PARENT.format(before=before, inside=indented, after=after)
    arguments = [str(bundle), str(FRAMES), str(threads), str(watch)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@forks
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("watch", [True, False])
def test_closing_and_ending_in_a_child_return_at_once(bundle, threads, watch):
    inside = "detector.close()\ndetector.close()\nprint('closed', flush=True)"
    said = family(bundle, inside, threads=threads, watch=watch)
    assert said == ["closed", "ended with 0", "normal"]


@forks
@pytest.mark.parametrize(
    "inside",
    [
        "detector.detect(frame)",
        "detector.detect_batch([frame])",
        "detector.refresh()",
        "detector.version",
        "detector.tasks()",
        "detector.manifest",
        "with detector: detector.views",
    ],
)
def test_what_another_process_opened_says_so(bundle, inside):
    said = family(bundle, inside)
    assert said == [ELSEWHERE.format(bundle), "ended with 0", "normal"]


@forks
def test_a_session_that_is_held_elsewhere_says_so(bundle):
    """As a conversation does, which goes on after `close`."""
    before = "session = next(iter(detector._snapshot.held.sessions.values()))"
    said = family(bundle, "session.run([], {})", before)
    assert said[0].startswith("BundleError graph ") and "another process" in said[0]
    assert said[1:] == ["ended with 0", "normal"]


@forks
@pytest.mark.parametrize(
    "inside", ["pass", "del detector", "detector = None; import gc; gc.collect()"]
)
def test_a_child_ends_without_touching_it(bundle, inside):
    assert family(bundle, inside) == ["ended with 0", "normal"]


@forks
def test_a_child_opens_its_own(bundle):
    inside = (
        "with Detector.open(sys.argv[1], threads=2) as own:\n"
        "    print(own.detect(frame).verdict, own.version, flush=True)"
    )
    assert family(bundle, inside) == ["normal 1", "ended with 0", "normal"]


@forks
def test_locks_that_are_held_while_forking(bundle):
    """Both the lock of a refresh under way and that of the watcher's event."""
    before = "detector._refreshing.acquire(); detector._watcher._stop._cond.acquire()"
    after = "detector._watcher._stop._cond.release(); detector._refreshing.release()"
    inside = "detector.close()\ndetector.refresh()"
    assert family(bundle, inside, before, after)[0] == ELSEWHERE.format(bundle)


@forks
def test_a_closed_detector_stays_closed_in_a_child(bundle):
    said = family(bundle, "detector.detect(frame)", "detector.close()", "detector = None")
    assert said[0] == f"BundleError the detector of {bundle} is closed; open it again"


def test_a_detector_is_not_sent_to_another_process(bundle):
    with (
        Detector.open(bundle, threads=1, watch=False) as detector,
        pytest.raises(BundleError, match="cannot be sent to another process"),
    ):
        pickle.dumps(detector)


def wait_for(condition) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened")


def threads_of_ours() -> int:
    return sum(thread.name == "cad-edge-watch" for thread in threading.enumerate())


@pytest.mark.parametrize("failed", [False, True])
def test_dropped_detectors_take_their_threads_along(bundle, frames, failed):
    """At once, without a garbage collection, and also where a new version was refused before."""
    gc.collect()
    before, pointer = threads_of_ours(), (bundle / "bundle.json").read_bytes()
    sessions = []
    gc.disable()
    try:
        for _ in range(3):
            detector = Detector.open(bundle, threads=2)
            detector.detect(frames["red.good"][0])
            sessions += [weakref.ref(one) for one in detector._snapshot.held.sessions.values()]
            if failed:
                (bundle / "bundle.json").write_text("{")
                wait_for(lambda opened=detector: opened.last_refresh_error is not None)
                (bundle / "bundle.json").write_bytes(pointer)
            del detector
            wait_for(lambda: threads_of_ours() == before)
        assert [one for one in sessions if one() is not None] == []
    finally:
        gc.enable()


END = """
import sys, threading, time
from safetensors.numpy import load_file
from cad_edge_runtime import Detector, detector as module
detector = Detector.open(sys.argv[1], threads=2)
frame = load_file(sys.argv[2])["red.good"][0]
{doing}
print(detector.detect(frame).verdict, flush=True)
"""


@pytest.mark.parametrize(
    "doing",
    [
        "pass",
        # A refresh that is under way when the program ends.
        "import os; inner = module.open_snapshot\n"
        "def slow(*given):\n"
        "    time.sleep(0.5); found = inner(*given); print('opened', flush=True); return found\n"
        "module.open_snapshot = slow\n"
        "from cad_edge.store.bundle import Bundle; store = Bundle(sys.argv[1])\n"
        "with store.lock():\n"
        "    update = {'version': 2, 'previous': store.pointer().manifest}\n"
        "    store.commit(store.manifest().model_copy(update=update))\n"
        "time.sleep(0.2)",
    ],
    ids=["idle", "refreshing"],
)
def test_a_program_ends_without_closing(bundle, doing):
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", END.format(doing=doing), str(bundle), str(FRAMES)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() in (["normal"], ["normal", "opened"])
    assert time.perf_counter() - began < 20
