"""TensorRT plans: built on the device that uses them, kept outside the bundle, never shipped.

A plan is native code, so it is never read from a bundle, and the cache folder must belong to the
user who runs the detector. A plan fits one graph on one kind of GPU under one set of library
versions; the name of its folder is the sha256 over all of these, so that an update never meets a
plan of the time before, and `PlanCache.prune` deletes what can no longer be used.

Tested on a CPU with injected facts; no plan has been built by this code yet.
"""

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from cad_edge.errors import DeviceError

_FACTS = "facts.json"
_COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NVINFER = ("libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.8")


@dataclass(frozen=True)
class GpuFacts:
    """What a plan depends on besides its graph."""

    sm: str
    """Compute capability without the dot: 87 is Orin."""

    tensorrt: str
    onnxruntime: str
    cuda: str


def plan_key(graph: str, facts: GpuFacts, options: Mapping[str, str]) -> str:
    """Return the folder name of a plan: sha256 over graph, GPU, versions and options."""
    record = {"graph": graph, "facts": asdict(facts), "options": dict(sorted(options.items()))}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class PlanCache:
    """A folder of plan folders."""

    def __init__(self, root: Path, facts: GpuFacts) -> None:
        self.root = root
        self.facts = facts

    def folder(self, graph: str, options: Mapping[str, str]) -> Path:
        """Return the folder for the plans of ``graph``, created and private to this user."""
        folder = self.root / plan_key(graph, self.facts, options)
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
            _refuse_foreign(self.root)
            _refuse_foreign(folder)
            (folder / _FACTS).write_text(json.dumps({"graph": graph, **asdict(self.facts)}))
        except OSError as problem:
            raise DeviceError(
                f"the plan folder {folder} cannot be written: {problem.strerror}; set "
                "CAD_EDGE_CACHE to a folder of your own"
            ) from None
        return folder

    def prune(self, keep: int = 64) -> list[Path]:
        """Delete what other library versions left for this GPU, and the oldest beyond ``keep``.

        Plans of another kind of GPU stay: a home folder may be shared between devices.
        """
        usable: list[tuple[float, Path]] = []
        stale: list[Path] = []
        for record in self.root.glob(f"*/{_FACTS}"):
            found = _read_facts(record)
            if found is None or (found.sm == self.facts.sm and found != self.facts):
                stale.append(record.parent)
            elif found == self.facts:
                usable.append((record.stat().st_mtime, record.parent))
        usable.sort(reverse=True)
        stale += [folder for _, folder in usable[keep:]]
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
        return sorted(stale)


def cache_root(bundle: Path, environment: Mapping[str, str]) -> Path:
    """Return where plans are kept: CAD_EDGE_CACHE, else the user's cache folder.

    Raises
    ------
    DeviceError
        The folder lies in the bundle, which travels between machines.
    """
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    base = Path(environment.get("CAD_EDGE_CACHE") or f"{home}/cad-edge")
    root = (base / "plans").absolute()
    if root.resolve().is_relative_to(bundle.resolve()):
        raise DeviceError(
            f"TensorRT plans must not lie in the bundle {bundle}; set CAD_EDGE_CACHE to a folder "
            "outside of it"
        )
    return root


def read_gpu_facts(onnxruntime: ModuleType, index: int) -> GpuFacts:
    """Ask the driver and the libraries; raise DeviceError where one is missing."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise DeviceError(
            "the NVIDIA driver (libcuda.so.1) is not installed; use device='cpu'"
        ) from None
    device, number = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), index):
        raise DeviceError(f"there is no GPU number {index}; use device='cpu'")
    capability = ""
    for attribute in _COMPUTE_CAPABILITY:
        driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        capability += str(number.value)
    driver.cuDriverGetVersion(ctypes.byref(number))
    cuda = f"{getattr(onnxruntime, 'cuda_version', '')}/{number.value}"
    return GpuFacts(capability, _tensorrt_version(), str(onnxruntime.__version__), cuda)


def _tensorrt_version() -> str:
    for name in _NVINFER:
        try:
            return f"{name}/{ctypes.CDLL(name).getInferLibVersion()}"
        except (OSError, AttributeError):
            continue
    raise DeviceError(
        f"TensorRT ({_NVINFER[0]}) is not installed; install TensorRT 10 or use device='cuda'"
    )


def _read_facts(record: Path) -> GpuFacts | None:
    try:
        found = json.loads(record.read_text())
        return GpuFacts(found["sm"], found["tensorrt"], found["onnxruntime"], found["cuda"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refuse_foreign(folder: Path) -> None:
    # A plan that another user can write is code that another user can run here.
    if not hasattr(os, "getuid"):
        return
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise DeviceError(
            f"the plan folder {folder} can be written by others; set CAD_EDGE_CACHE to a folder of "
            "your own"
        )
