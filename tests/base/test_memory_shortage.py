"""Too little memory: how it is told from other failures, and how the command line ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cad_edge.memory_shortage import short_of_memory, shortage_behind

pytestmark = pytest.mark.torchless

BUNDLE = Path(__file__).resolve().parents[1] / "golden" / "bundle"


@pytest.mark.parametrize(
    ("problem", "short"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("bad allocation"), True),
        (RuntimeError("BFCArena: Failed to allocate memory for requested buffer"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("CUDA failure 2: out of memory"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (SystemError("error return without exception set"), True),
        (ImportError("x.so: failed to map segment ...: Operation not permitted"), False),
        (ImportError("libgomp.so.1: cannot allocate memory in static TLS block"), False),
        (RuntimeError("Invalid input name: memory"), False),
        (RuntimeError("No graph was found in the protobuf."), False),
    ],
)
def test_what_is_short_of_memory(problem, short):
    assert short_of_memory(problem) is short


def test_it_is_found_behind_what_a_library_makes_of_it():
    advice = "IMPORTANT: READ THIS\n\nOriginal error was: b.so: failed to map segment from x\n"
    try:
        try:
            raise ImportError("b.so: failed to map segment from x")
        except ImportError as inner:
            raise ImportError(advice) from inner
    except ImportError as outer:
        assert shortage_behind(outer) == "b.so: failed to map segment from x"
    try:
        try:
            raise MemoryError
        finally:
            raise AttributeError("half a module")
    except AttributeError as outer:
        assert shortage_behind(outer) == "MemoryError"
    assert shortage_behind(AttributeError("half a module")) is None


LITTLE = """
import resource, sys
import numpy
from cad_edge.cli import main
size = next(line for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = int(size.split()[1]) * 1024 + int(sys.argv.pop(1)) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main()
"""
"""numpy comes first: where its OpenBLAS gets no memory, that prints a line of its own and exits."""


def start(megabytes: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Start the program with so much more memory than it takes to be there."""
    return subprocess.run(
        [sys.executable, "-c", LITTLE, str(megabytes), *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
class TestLittleMemory:
    @pytest.mark.parametrize("megabytes", [3, 6, 12])
    def test_a_command_that_cannot_be_imported_is_one_sentence(self, megabytes):
        done = start(megabytes, "tasks", BUNDLE)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert done.stderr.startswith("Error: there is not enough memory to run this command (")
        assert done.stderr.endswith("; free some, or raise the limit of this process\n")
        assert done.stderr.count("\n") == 1

    def test_help_needs_little(self):
        assert start(3, "--help").returncode == 0

    def test_enough_is_enough(self):
        assert start(2000, "tasks", BUNDLE).returncode == 0
