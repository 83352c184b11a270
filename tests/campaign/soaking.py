"""The process that is soaked: threads that inspect while another process switches the version.

    python soaking.py BUNDLE FRAMES EXPECTED COUNT

Prints JSON: what the process held at a hundred and more moments, and what was answered wrongly.
"""

import json
import os
import sys
import threading
from pathlib import Path

from safetensors.numpy import load_file

from cad_edge_runtime import Detector

CALLERS = 4
THREADS = 2
SAMPLES = 200


def held() -> tuple[float, int, int]:
    """Resident memory in MB (10^6 bytes), open files and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    files, threads = (list(Path("/proc/self", name).iterdir()) for name in ("fd", "task"))
    return memory, len(files), len(threads)


class Soak:
    """Counts frames, and what was seen meanwhile."""

    def __init__(self, frames: dict, expected: dict, count: int) -> None:
        self.frames, self.expected, self.count = frames, expected, count
        self.samples: list[tuple[int, float, int, int]] = []
        self.wrong: list[str] = []
        self.done, self.switches = 0, 0
        self._lock = threading.Lock()

    def inspect(self, detector: Detector) -> None:
        """Inspect until all frames are done, one caller of several."""
        before = None
        while True:
            with self._lock:
                number, self.done = self.done, self.done + 1
                if number >= self.count:
                    return
                if number % max(1, self.count // SAMPLES) == 0:
                    self.samples.append((number, *held()))
            name = list(self.frames)[number % len(self.frames)]
            found = detector.detect(self.frames[name])
            task, verdict, score = self.expected[str(found.version)][name]
            same = (found.task, found.verdict) == (task, verdict) and abs(
                found.score - score
            ) < 1e-5
            with self._lock:
                self.switches += before is not None and before != found.version
                if not same:
                    self.wrong.append(f"{name} by {found.version}: {found.verdict}, {found.score}")
            before = found.version


def main(bundle: str, frames: str, expected: str, count: str) -> None:
    arrays = {
        f"{name}.{number}": image
        for name, images in load_file(frames).items()
        if not name.endswith("score")
        for number, image in enumerate(images)
    }
    with Detector.open(bundle, threads=THREADS) as detector:
        print("open", flush=True)
        soak = Soak(arrays, json.loads(Path(expected).read_text()), int(count))
        callers = [threading.Thread(target=soak.inspect, args=(detector,)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        problem = detector.last_refresh_error
    print(
        json.dumps(
            {
                "samples": soak.samples,
                "switches": soak.switches,
                "wrong": soak.wrong[:5],
                "last_refresh_error": None if problem is None else str(problem),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
