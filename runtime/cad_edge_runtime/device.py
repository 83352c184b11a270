"""Which execution provider runs a graph, and the proof that it does.

ONNX Runtime only warns when a provider is missing and then runs on the CPU. Here the choice is a
pure function of the providers that are there, and what a session got is compared with it: a device
that was asked for and not had is an error. ``auto`` takes CUDA where it works and the CPU where it
does not, and the detector says which. TensorRT must be asked for, because its first opening builds
plans for minutes, and OpenVINO, because whether it is faster than the CPU provider depends on the
processor.

The choice, the verification and the plan cache (``plans.py``) are tested on a CPU with injected
facts. No line of the CUDA and TensorRT branches has run on a GPU.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cad_edge.errors import DeviceError
from cad_edge_runtime.arguments import brief

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"

_PROVIDERS = {"cpu": CPU, "openvino": OPENVINO, "cuda": CUDA, "tensorrt": TENSORRT}
_GPU = frozenset({"cuda", "tensorrt"})
_NUMBER = re.compile("[0-9]{1,3}")  # of a GPU
_NEEDS = {
    CUDA: "install cad-edge[gpu] instead of cad-edge[cpu], or use device='cpu'",
    TENSORRT: "install cad-edge[gpu] and the TensorRT 10 libraries, or use device='cpu'",
    OPENVINO: "install cad-edge[openvino] instead of cad-edge[cpu], or use device='cpu'",
}


@dataclass(frozen=True)
class Device:
    """The provider that sessions are created on."""

    name: str
    """cpu, cuda, tensorrt or openvino."""

    strict: bool
    """Whether anything else than ``name`` is an error; False for ``auto``."""

    index: int = 0
    """Which GPU."""

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the provider."""
        return _PROVIDERS[self.name]

    @property
    def on_gpu(self) -> bool:
        """Whether tensors of the graphs live in a GPU's memory."""
        return self.name in _GPU


@dataclass(frozen=True)
class Providers:
    """Arguments ``providers`` and ``provider_options`` of a session."""

    names: list[str]
    options: list[dict[str, str]] = field(default_factory=list)


def device_names() -> list[str]:
    """Words that `choose_device` takes, beside a GPU by number."""
    return ["auto", *_PROVIDERS]


def choose_device(asked: str, available: Sequence[str]) -> Device:
    """Turn ``auto``, ``cpu``, ``openvino``, ``cuda``, ``tensorrt`` or ``cuda:1`` into a device.

    Parameters
    ----------
    asked
        The user's word.
    available
        Providers that this ONNX Runtime was built with.

    Raises
    ------
    DeviceError
        The word is unknown, or the provider is not in this build.
    """
    if asked == "auto":
        return Device("cuda" if CUDA in available else "cpu", strict=False)
    name, colon, number = asked.partition(":") if isinstance(asked, str) else ("", "", "")
    if name not in _PROVIDERS or (colon and not (name in _GPU and _NUMBER.fullmatch(number))):
        raise DeviceError(
            f"device {brief(asked)} is not known; use {', '.join(device_names())}, or a GPU by "
            "number as in cuda:1"
        )
    device = Device(name, strict=True, index=int(number or 0))
    if device.provider not in available:
        raise DeviceError(
            f"device {asked!r} needs {device.provider}, which this onnxruntime does not have; "
            f"{_NEEDS.get(device.provider, 'install cad-edge[cpu]')}"
        )
    return device


def providers_for(device: Device, threads: int, plan_folder: Path | None) -> Providers:
    """List providers in order of preference, with their options.

    Parameters
    ----------
    device
        What was chosen.
    threads
        Of each graph; OpenVINO has threads of its own, the CPU takes them from the session.
    plan_folder
        Where TensorRT keeps the plans of this graph; needed for ``tensorrt`` alone.
    """
    number = {"device_id": str(device.index)}
    # A growing arena that doubles would take memory from the other programs of a shared GPU.
    cuda = {**number, "arena_extend_strategy": "kSameAsRequested"}
    if device.name == "cpu":
        return Providers([CPU], [{}])
    if device.name == "openvino":
        # Left to itself it computes float32 graphs in bfloat16 on CPUs that have it, and the
        # certificate was not made for that.
        exact = {"device_type": "CPU", "precision": "ACCURACY", "num_of_threads": str(threads)}
        return Providers([OPENVINO, CPU], [exact, {}])
    if device.name == "cuda":
        return Providers([CUDA, CPU], [cuda, {}])
    if plan_folder is None:
        raise DeviceError("TensorRT needs a folder outside the bundle to keep its plans in")
    tensorrt = {
        **number,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(plan_folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(plan_folder.parent),
        # Engines take turns on one stream, so that one scratch memory serves all of them.
        "trt_context_memory_sharing_enable": "1",
    }
    return Providers([TENSORRT, CUDA, CPU], [tensorrt, cuda, {}])


def verify_device(device: Device, providers: Sequence[str]) -> Device:
    """Compare what a session got with what was chosen, and return what it runs on.

    Parameters
    ----------
    device
        What was chosen.
    providers
        ``session.get_providers()``.

    Raises
    ------
    DeviceError
        The user asked for a device by name and the session runs on another one.
    """
    got = providers[0] if providers else "nothing"
    if got == device.provider:
        return device
    if device.strict or got != CPU:
        raise DeviceError(
            f"device {device.name!r} was asked for, but onnxruntime runs on {got}; check the "
            f"driver and libraries, or use device='cpu'"
        )
    return Device("cpu", strict=False)
