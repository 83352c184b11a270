"""Judge damaged bundles, each in a process of its own with a deadline.

    python -m tests.campaign.judge BASES SEED FIRST LAST

``BASES`` is a folder of sound bundles. A line of JSON is printed for each case; one case again is
the same command with its number.
"""

import contextlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from cad_edge.errors import CadEdgeError
from cad_edge.store.bundle import Bundle
from cad_edge_runtime import Detector
from cad_edge_runtime.session import load_onnxruntime
from cad_edge_runtime.tokens import load_tokenizers
from cad_edge_runtime.verification import problems_of, try_out
from tests.campaign.bundle_parts import read_parts
from tests.campaign.damage import damage

DEADLINE = 10.0  # seconds for opening and two frames, and as much for verifying
LARGEST = 1 << 20  # KiB of memory
LONGEST = 600  # characters of a message
FRAMES = Path(__file__).resolve().parents[1] / "golden" / "frames.safetensors"


def answers(bundle: Path) -> list[dict[str, Any]]:
    """Say what a detector answers for two frames, as the device's command line prints it."""
    frames = load_file(FRAMES)
    plane = np.full((32, 32), 500, np.float32)
    with Detector.open(bundle, "cpu", threads=1, watch=False) as detector:
        found = [
            detector.detect(frames["red.bad"][0], depth=plane),
            detector.detect(frames["blue.good"][1], depth=plane),
        ]
        found += detector.detect_batch([frames["green.bad"][0], frames["green.good"][1]], "green")
        entry = detector.manifest.tasks["green"]
        words = None
        if entry.explainer is not None:
            words = detector.explain(frames["green.bad"][1], "What?", 3, "green").text
    said = [one.to_dict() for one in found]
    for one, detection in zip(said, found, strict=True):
        del one["version"]
        if detection.anomaly_map is not None:
            one["map"] = float(detection.anomaly_map.astype(np.float64).sum())
    return [*said, {"words": words}]


def opened(bundle: Path) -> dict[str, Any]:
    """Open a bundle and inspect; refusals and other exceptions as data."""
    try:
        return {"outcome": "answered", "answers": repr(answers(bundle))}
    except CadEdgeError as problem:
        said = str(problem)
        sound = len(said) <= LONGEST and len(said.splitlines()) == 1
        return {"outcome": "refused" if sound else "message", "said": said[: 2 * LONGEST]}
    except BaseException as problem:
        return {"outcome": "exception", "said": repr(problem)[: 2 * LONGEST]}


def verified(bundle: Path) -> dict[str, Any]:
    """Verify a bundle as the command line does, and with --open."""
    found: dict[str, Any] = {}
    for name, look in (
        ("verify", lambda: problems_of(Bundle(bundle))),
        ("verify_open", lambda: try_out(bundle, "cpu")),
    ):
        try:
            problems = look()
        except CadEdgeError as problem:
            problems = [str(problem)]
        except BaseException as problem:
            return {**found, "outcome": "exception in " + name, "said": repr(problem)[:LONGEST]}
        found[name] = bool(problems) or found.get("verify", False)
        if any(len(one) > LONGEST or len(one.splitlines()) != 1 for one in problems):
            return {**found, "outcome": "message in " + name, "said": max(problems, key=len)}
    return found


def in_child(bundle: Path) -> dict[str, Any]:
    """Open, and where that is refused verify, in a process with a deadline."""
    reading, writing = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        _answer(bundle, writing)
    os.close(writing)
    lines = _Lines(reading)
    found = lines.next()
    seconds = time.perf_counter() - began
    if found.get("outcome") in ("refused", "message"):
        later = lines.next()
        found |= later if later else {"outcome": "no end in verify"}
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    _, _, usage = os.wait4(child, 0)
    if not found:
        found = {"outcome": "no end" if seconds >= DEADLINE else "crash"}
    peak = usage.ru_maxrss
    if peak > LARGEST:
        found["outcome"] = "memory"
    return {**found, "seconds": round(seconds, 3), "peak_mib": peak >> 10}


def _answer(bundle: Path, writing: int) -> None:
    """Do the child's work, and never come back."""
    try:
        sys.setrecursionlimit(1000)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        found = opened(bundle)
        _say(writing, found)
        if found["outcome"] in ("refused", "message"):
            _say(writing, verified(bundle))
    finally:
        os._exit(0)


def _say(writing: int, found: dict[str, Any]) -> None:
    data = json.dumps(found).encode() + b"\n"
    while data:
        data = data[os.write(writing, data) :]


class _Lines:
    """Lines of a pipe, each in time or not at all."""

    def __init__(self, reading: int) -> None:
        self._reading = reading
        self._said = b""

    def next(self) -> dict[str, Any]:
        """Read a line; nothing where there is none in time."""
        end = time.monotonic() + DEADLINE
        while b"\n" not in self._said:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._reading, 1 << 16) if ready else b""
            if not more:
                return {}
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


def judge(base: Path, seed: int, number: int, folder: Path, expected: str) -> dict[str, Any]:
    """Damage a bundle and see what becomes of it."""
    chance = random.Random(f"{seed} {number}")
    again = number % 2 == 1
    parts = read_parts(base)
    said, later = damage(parts, chance, again)
    bundle = folder / f"case-{number}"
    parts.write(bundle)
    if later is not None:
        later(bundle, chance)
    found = in_child(bundle)
    if found["outcome"] == "answered":
        same = found.pop("answers") == expected
        found["outcome"] = "same" if same else "other" if again else "silent difference"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return {"number": number, "base": base.name, "damage": said, "again": again, **found}


def main() -> None:
    """Judge the cases that the command line names."""
    bases = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    seed, first, last = map(int, sys.argv[2:])
    load_onnxruntime()
    with contextlib.suppress(CadEdgeError):
        load_tokenizers()
    sys.setrecursionlimit(20_000)  # damage nests values more deeply than anybody would
    expected = [answers_in_child(base) for base in bases]
    with tempfile.TemporaryDirectory(prefix="damaged-") as made:
        folder = Path(made) / "cases"
        folder.mkdir()
        for number in range(first, last):
            place = random.Random(f"{seed} base {number}").randrange(len(bases))
            found = judge(bases[place], seed, number, folder, expected[place])
            print(json.dumps(found), flush=True)


def answers_in_child(base: Path) -> str:
    """Answers of a sound bundle; this process must have no session when it forks."""
    found = in_child(base)
    if found["outcome"] != "answered":
        raise RuntimeError(f"the sound bundle {base} gives {found}")
    said: str = found["answers"]
    return said


if __name__ == "__main__":
    main()
