"""How many cores and threads: affinity, quotas of containers, and numbers that make no sense."""

import os
from pathlib import Path

import numpy as np
import pytest

from cad_edge.errors import DeviceError, OptionError
from cad_edge_runtime import Detector, cores
from cad_edge_runtime.cores import available_cores, cpu_quota, require_startable, require_threads

pytestmark = pytest.mark.torchless

NO_LIMIT = "max 100000\n"


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root with /proc/self/cgroup and some files below /sys/fs/cgroup."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "12:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n1:name=systemd:/docker/abc\n"
QUOTAS = {
    "version 2, in its own namespace": ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
    "version 2, without a limit": ("0::/\n", {"cpu.max": NO_LIMIT}, None),
    "version 2, a service": (
        "0::/system.slice/line.service\n",
        {"system.slice/line.service/cpu.max": "50000 100000\n", "system.slice/cpu.max": NO_LIMIT},
        0.5,
    ),
    "version 2, the group above is narrower": (
        "0::/pod/container\n",
        {"pod/container/cpu.max": "400000 100000\n", "pod/cpu.max": "300000 100000\n"},
        3.0,
    ),
    "version 2, a path outside of the namespace": (
        "0::/../../elsewhere\n",
        {"cpu.max": "200000 100000\n"},
        2.0,
    ),
    "version 1, the path of the host": (
        V1,
        {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        2.5,
    ),
    "version 1, a group of its own": (
        "4:cpu:/line\n",
        {"cpu/line/cpu.cfs_quota_us": "100000\n", "cpu/line/cpu.cfs_period_us": "50000\n"},
        2.0,
    ),
    "version 1, without a limit": (
        V1,
        {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "both versions": (
        "4:cpu:/\n0::/\n",
        {
            "cpu/cpu.cfs_quota_us": "100000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "unified/cgroup.procs": "",
        },
        1.0,
    ),
    "nonsense": ("0::/\n", {"cpu.max": "many of them\n"}, None),
    "a period of nothing": ("0::/\n", {"cpu.max": "100000 0\n"}, None),
    "no lines": ("", {"cpu.max": "100000 100000\n"}, None),
}


@pytest.mark.parametrize(("groups", "files", "share"), QUOTAS.values(), ids=QUOTAS)
def test_quota(tmp_path, groups, files, share):
    assert cpu_quota(machine(tmp_path, groups, files)) == share


def test_no_control_groups_at_all(tmp_path):
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "counted"),
    [("50000", 1), ("100000", 1), ("150000", 2), ("300000", 3), ("6400000", 8)],
)
def test_the_smaller_of_affinity_and_quota_counts(tmp_path, monkeypatch, quota, counted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert available_cores(machine(tmp_path, "0::/\n", {"cpu.max": f"{quota} 100000"})) == counted


def test_a_detector_takes_as_many_threads_as_the_quota_has_cores(bundle, tmp_path, monkeypatch):
    root = machine(tmp_path / "root", "0::/\n", {"cpu.max": "100000 100000"})
    monkeypatch.setattr(cores.available_cores, "__defaults__", (root,))
    with Detector.open(bundle, watch=False) as detector:
        assert detector._factory._threads == 1


@pytest.mark.parametrize(
    "threads",
    [2000, 0, -1, 10**5000, "2", 2.0, True, [2], np.array([1, 2]), "x" * 5000],
    ids=lambda value: type(value).__name__,
)
def test_threads_that_make_no_sense_are_refused_at_once(bundle, threads):
    with pytest.raises(
        OptionError, match=r"^threads=.* is not allowed; give a whole number"
    ) as said:
        Detector.open(bundle, threads=threads, watch=False)
    assert len(str(said.value)) < 300 and "\n" not in str(said.value)


@pytest.mark.parametrize("threads", [1, 2, np.int64(2), np.array(1)])
def test_threads_that_are_whole_numbers(bundle, threads):
    assert require_threads(threads) == int(threads)
    with Detector.open(bundle, threads=threads, watch=False) as detector:
        assert detector.version == 1


def test_more_threads_on_more_cores(monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 96)
    assert require_threads(96) == 96 and require_threads(None) is None
    with pytest.raises(OptionError, match="from 1 to 96"):
        require_threads(97)


def test_threads_that_cannot_be_started(monkeypatch):
    started = []
    inner = cores._thread.start_new_thread

    def limited(code, arguments):
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(inner(code, arguments))

    monkeypatch.setattr(cores._thread, "start_new_thread", limited)
    require_startable(4)
    started.clear()
    with pytest.raises(DeviceError, match="5 threads for each graph cannot all be started here"):
        require_startable(5)
