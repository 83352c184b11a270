"""The yardstick: a fixed piece of work that says how fast the machine itself was at the time.

Between two runs a machine changes: another program takes a core, the clock falls with the heat. A
comparison must not call that a change of the bundle. So as many threads as a graph uses hash the
same bytes, and wait for the slowest of them as a graph does, before and after each scenario.
"""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cad_edge_benchmarks.instruments.report_schema import Spread

_BYTES = b"\0" * 262_144  # hashlib lets other threads run from 2 KiB on
_SECONDS = 0.2


def hash_for_a_while(threads: int, seconds: float = _SECONDS) -> list[float]:
    """Hash in ``threads`` threads at once, again and again; milliseconds of each round."""
    rounds = []
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            before = time.perf_counter()
            list(pool.map(_hash, range(threads)))
            rounds.append((time.perf_counter() - before) * 1e3)
    return rounds


def _hash(number: int) -> bytes:
    del number  # every thread does the same
    return hashlib.sha256(_BYTES).digest()


def yardstick_of(rounds: Sequence[float]) -> Spread:
    """Median and quartiles of rounds, in milliseconds; at least one."""
    low, median, high = np.percentile(rounds, [25, 50, 75])
    return Spread(median=float(median), low=float(low), high=float(high))
