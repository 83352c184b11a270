"""Graphics processors, their memory and electric power, where a device reports them.

NVIDIA's NVML is read through the package ``pynvml`` if it is installed; a Jetson's power monitors
(INA3221) are read from the files of the kernel. Neither is needed. The readers are tested on
recorded files and a stand-in for ``pynvml``; none has run on a GPU or a Jetson.
"""

import importlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from cad_edge_benchmarks.instruments.conditions import Gpu
from cad_edge_benchmarks.instruments.report_schema import PowerUse

_PERIOD = 0.1  # seconds between readings; NVML and INA3221 average over about as long
_TOTAL_RAIL = "VDD_IN"  # of Jetson modules that measure their whole input; others are summed


@dataclass(frozen=True)
class Meter:
    """What reports power, GPU memory, or both."""

    source: str
    watts: Callable[[], float] | None
    gpu_bytes: Callable[[], int | None] | None = None
    """Held by this process on the GPU that runs the graphs."""


def load_nvml() -> ModuleType | None:
    """Import and start NVML; None where the package or the driver is missing."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # without a driver it raises classes of its own, which cannot be imported
        return None
    return nvml


def list_gpus(nvml: ModuleType | None) -> list[Gpu]:
    """Every GPU that the driver reports."""
    if nvml is None:
        return []
    handles = [nvml.nvmlDeviceGetHandleByIndex(at) for at in range(nvml.nvmlDeviceGetCount())]
    return [
        Gpu(
            name=_text(nvml.nvmlDeviceGetName(handle)),
            driver=_text(nvml.nvmlSystemGetDriverVersion()),
            memory=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
            power_limit_watts=_watts(nvml.nvmlDeviceGetPowerManagementLimit, handle),
        )
        for handle in handles
    ]


def find_meter(nvml: ModuleType | None, gpu: int | None, root: Path = Path("/")) -> Meter | None:
    """Find what reports power and GPU memory for the device that runs the graphs.

    Parameters
    ----------
    nvml
        From `load_nvml`.
    gpu
        Number of the GPU that runs the graphs, None for the CPU: a GPU that idles beside the CPU
        says nothing of it.
    root
        Where the files of the kernel are.
    """
    rails = jetson_rails(root)
    if rails:
        names = " + ".join(rail.name for rail in rails)
        return Meter(f"INA3221 ({names})", lambda: sum(rail.watts() for rail in rails))
    if nvml is None or gpu is None:
        return None
    handle = nvml.nvmlDeviceGetHandleByIndex(gpu)
    read = nvml.nvmlDeviceGetPowerUsage
    told = _watts(read, handle) is not None
    return Meter(
        f"NVML, GPU {gpu} alone",
        (lambda: float(read(handle)) / 1000) if told else None,
        lambda: _gpu_bytes(nvml, handle, os.getpid()),
    )


def _gpu_bytes(nvml: ModuleType, handle: object, process: int) -> int | None:
    running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    held = [one.usedGpuMemory for one in running if one.pid == process]
    return None if not held or held[0] is None else int(held[0])


@dataclass(frozen=True)
class Rail:
    """One supply that a power monitor measures."""

    name: str
    voltage: Path
    """File with millivolts."""
    current: Path
    """File with milliamperes."""

    def watts(self) -> float:
        """Read the power now."""
        return int(self.voltage.read_text()) * int(self.current.read_text()) / 1e6


def jetson_rails(root: Path = Path("/")) -> list[Rail]:
    """Rails of the INA3221 monitors: the module's input where it is measured, else all."""
    rails = []
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if read_line(monitor / "name") != "ina3221":
            continue
        for label in sorted(monitor.glob("in*_label")):
            number = label.name.removeprefix("in").removesuffix("_label")
            rail = Rail(
                read_line(label) or "",
                monitor / f"in{number}_input",
                monitor / f"curr{number}_input",
            )
            if rail.voltage.is_file() and rail.current.is_file():
                rails.append(rail)
    return [rail for rail in rails if rail.name == _TOTAL_RAIL] or rails


def read_line(path: Path) -> str | None:
    """Text of a file of the kernel or the system, without the NUL that a device tree ends with."""
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _text(value: str | bytes) -> str:
    """Older versions of the package give bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _watts(read: Callable[[object], int], handle: object) -> float | None:
    try:
        return float(read(handle)) / 1000
    except Exception:  # not every GPU reports it, and the class is NVML's own
        return None


class MeterLog:
    """Reads a meter ten times a second while a block runs; reads nothing without one."""

    def __init__(self, meter: Meter | None) -> None:
        self._meter = meter
        self._watts: list[float] = []
        self._bytes: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="meter", daemon=True)

    def __enter__(self) -> "MeterLog":
        if self._meter is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def power(self) -> PowerUse | None:
        """Sum up the power; None where none was read."""
        if self._meter is None or not self._watts:
            return None
        return PowerUse(
            source=self._meter.source,
            readings=len(self._watts),
            mean_watts=sum(self._watts) / len(self._watts),
            peak_watts=max(self._watts),
        )

    def gpu_bytes(self) -> int | None:
        """Most GPU memory that was read; None where none was."""
        return max(self._bytes, default=None)

    def _read(self) -> None:
        assert self._meter is not None
        while not self._stop.wait(_PERIOD):
            # A reading that fails is left out; the frames go on.
            with suppress(Exception):
                if self._meter.watts is not None:
                    self._watts.append(self._meter.watts())
                held = None if self._meter.gpu_bytes is None else self._meter.gpu_bytes()
                self._bytes += [] if held is None else [held]
