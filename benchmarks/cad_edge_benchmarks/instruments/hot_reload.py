"""Hot pick-up: a new version comes into force while a line is running.

One thread judges frames of older products without a pause, as a line does. The pointer is replaced,
and frames of the new product are shown until one is recognised; that is when the version is
visible. A frame of the line is lost when it gets no answer, and wrong when its task, verdict or
score differs from what the version that answered gives when it is opened alone.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cad_edge.data.image import Frame
from cad_edge.errors import CadEdgeError
from cad_edge.store.atomic_write import replace_file
from cad_edge_runtime import Detection, Detector

GIVEN_UP = 10.0  # seconds after which a version counts as never picked up


@dataclass(frozen=True)
class Versions:
    """A bundle folder with two versions of it: the contents of ``bundle.json`` for each."""

    bundle: Path
    older: bytes
    newer: bytes


@dataclass(frozen=True)
class PickUp:
    """How new versions were picked up."""

    visible_ms: list[float]
    """From just before the pointer was replaced to the first frame recognised, per round."""
    frames: int
    """Frames of the running line."""
    lost: int
    wrong: int


Answer = tuple[str | None, str, float | None]


def _answer(found: Detection) -> Answer:
    return found.task, found.verdict, found.score


@dataclass
class _Line:
    """A line that judges the same frames over and over and checks every answer."""

    detector: Detector
    frames: Sequence[Frame]
    expected: Mapping[int, Sequence[Answer]]
    """Answers by version."""
    judged: int = 0
    lost: int = 0
    wrong: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Judge until stopped."""
        while not self.stop.is_set():
            index = self.judged % len(self.frames)
            self.judged += 1
            try:
                found = self.detector.detect(self.frames[index])
            except Exception:
                self.lost += 1
                continue
            self.wrong += _answer(found) != self.expected[found.version][index]


def measure_pick_up(
    versions: Versions,
    line_frames: Sequence[Frame],
    new: tuple[str, Frame],
    rounds: int,
    threads: int = 2,
) -> PickUp:
    """Bring the newer version into force ``rounds`` times while a line runs.

    Parameters
    ----------
    versions
        Its bundle is changed and ends with the older version in force.
    line_frames
        Frames of products that both versions hold.
    new
        Name and one frame of the product that only the newer version holds.
    rounds
        How often the newer version comes into force.
    threads
        Of the runtime.

    Raises
    ------
    CadEdgeError
        A version was not picked up within 10 s.
    """
    pointer = versions.bundle / "bundle.json"
    expected: dict[int, list[Answer]] = {}
    for version in (versions.newer, versions.older):
        replace_file(pointer, version)
        with Detector.open(versions.bundle, "cpu", threads, watch=False) as detector:
            expected[detector.version] = [_answer(detector.detect(one)) for one in line_frames]
    visible = []
    with Detector.open(versions.bundle, "cpu", threads) as detector:
        line = _Line(detector, line_frames, expected)
        thread = threading.Thread(target=line.run, name="line", daemon=True)
        thread.start()
        try:
            for _ in range(rounds):
                visible.append(_seconds_until(detector, pointer, versions.newer, new, True) * 1e3)
                _seconds_until(detector, pointer, versions.older, new, False)
        finally:
            line.stop.set()
            thread.join()
    return PickUp(visible, line.judged, line.lost, line.wrong)


def _seconds_until(
    detector: Detector, pointer: Path, version: bytes, new: tuple[str, Frame], known: bool
) -> float:
    """Put ``version`` in force and wait until the new product is recognised, or no longer is."""
    name, frame = new
    started = time.perf_counter()
    replace_file(pointer, version)
    while (detector.detect(frame).task == name) != known:
        if time.perf_counter() - started > GIVEN_UP:
            raise CadEdgeError(
                f"the new version was not picked up within {GIVEN_UP:g} s: "
                f"{detector.last_refresh_error or 'no frame of the new product is recognised'}"
            )
    return time.perf_counter() - started
