"""Memory and machine, read from the files of the kernel."""

import subprocess
import sys

import numpy as np
import pytest

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.machine import (
    commit_of,
    describe_machine,
    usable_cores,
    versions,
)
from cad_edge_benchmarks.instruments.memory import memory_of

ROLLUP = """55d0-7ffe ---p 00000000 00:00 0    [rollup]
Rss:                2000 kB
Pss:                1500 kB
Private_Clean:       100 kB
Private_Dirty:       900 kB
"""


def test_sizes_are_read_from_the_rollup(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "smaps_rollup").write_text(ROLLUP)
    memory = memory_of("7", proc=tmp_path)
    assert (memory.rss, memory.pss, memory.uss) == (2000 * 1024, 1500 * 1024, 1000 * 1024)


def test_a_missing_process_is_one_sentence(tmp_path):
    with pytest.raises(CadEdgeError, match="Linux only"):
        memory_of("8", proc=tmp_path)


ALLOCATE = """
import numpy as np
from cad_edge_benchmarks.instruments.memory import memory_of, peak_rss
memory_of()
before = memory_of().uss
block = np.ones(8 << 20)
print(memory_of().uss - before, block.nbytes, peak_rss() >= memory_of().uss)
"""


def test_allocating_shows_in_the_unique_size():
    # In a process of its own: what other tests used may come free at any moment.
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True
    )
    grown, asked, peak = done.stdout.split()
    assert int(asked) * 0.9 < int(grown) < int(asked) * 1.5
    assert peak == "True"


def test_the_machine_is_named(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name : Tester 9\nflags : avx2 fpu\n\nmodel name: b\n")
    machine = describe_machine(tmp_path / "cpuinfo")
    assert machine["cpu"] == "Tester 9"
    assert machine["instructions"] == ["avx2"]
    assert machine["cores"] == usable_cores() >= 1


def test_versions_name_numpy():
    assert versions()["numpy"] == np.__version__


def test_outside_git_there_is_no_commit(tmp_path):
    assert commit_of(tmp_path) is None
