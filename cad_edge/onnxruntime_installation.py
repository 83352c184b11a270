"""The one door to ONNX Runtime: which wheel is there, its import, and sessions that print nothing.

From 1.32 on, ONNX Runtime writes an identity of the device below the user's cache folder and looks
up its collector's name some seconds after it was imported. Only a variable of the environment that
is set before the import keeps it from that, so nothing of this project imports it elsewhere;
tests/house/test_imports.py keeps this.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from cad_edge.errors import DeviceError
from cad_edge.memory_shortage import short_of_memory

_EXTRAS = {
    "onnxruntime": "cad-edge[cpu]",
    "onnxruntime-gpu": "cad-edge[gpu]",
    "onnxruntime-openvino": "cad-edge[openvino]",
}
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_CONFIG_FROM_MODEL = "ORT_LOAD_CONFIG_FROM_MODEL"  # would let a graph set session options
EXACT_PRODUCTS = ("session.x64quantprecision", "1")
"""Key and value of a session: without it products of eight bits are added in 16 bits on processors
that have no VNNI, and may be cut off (docs/decisions/0018-eight-bit-products.md)."""
FATAL_ONLY = 4
"""Severity of log lines: what fails is raised as well, and is said once, in our sentence."""


class Port(Protocol):
    """An input or output of a graph."""

    name: str


class InferenceSession(Protocol):
    """What is used of onnxruntime.InferenceSession."""

    def get_inputs(self) -> Sequence[Port]:
        """Return the inputs of the graph."""

    def get_outputs(self) -> Sequence[Port]:
        """Return the outputs of the graph."""

    def get_providers(self) -> Sequence[str]:
        """Return the execution providers that it got, the preferred one first."""

    def run(
        self, outputs: Sequence[str] | None, feed: Mapping[str, object], /
    ) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """Return the values of ``outputs``, or of all."""


def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime with its telemetry switched off.

    A program that has imported it before has decided that for itself, and how much it logs.

    Raises
    ------
    DeviceError
        It is not installed, or twice, or cannot be loaded; says which, and what to do.
    """
    refuse_several_wheels()
    os.environ[_NO_TELEMETRY] = "1"
    os.environ[_CONFIG_FROM_MODEL] = "0"
    first = "onnxruntime" not in sys.modules
    try:
        import onnxruntime
    except ModuleNotFoundError as problem:
        if problem.name != "onnxruntime":
            raise _not_loaded(problem) from None
        raise DeviceError(
            'onnxruntime is not installed; run `pip install "cad-edge[cpu]"`, or "cad-edge[gpu]" '
            "on a machine with an NVIDIA GPU"
        ) from None
    except (ImportError, MemoryError, OSError, RuntimeError) as problem:
        raise _not_loaded(problem) from None
    if first:
        onnxruntime.set_default_logger_severity(FATAL_ONLY)
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    module: ModuleType = onnxruntime
    return module


def open_session(
    onnxruntime: ModuleType,
    graph: str | bytes,
    options: object,
    providers: Sequence[str],
    provider_options: Sequence[Mapping[str, str]] | None = None,
) -> InferenceSession:
    """Make a session of a graph, a path or its bytes; every failure is an exception of its own.

    Left to itself ONNX Runtime prints a provider's failure to stdout, among what the program
    prints, and goes on with another provider.
    """
    session: InferenceSession = onnxruntime.InferenceSession(
        graph,
        sess_options=options,
        providers=list(providers),
        provider_options=None if provider_options is None else list(provider_options),
        enable_fallback=0,
    )
    return session


def refuse_several_wheels() -> None:
    """Raise DeviceError if more than one wheel of ONNX Runtime is installed.

    All own the same import package, so the one that was installed last has overwritten parts of the
    others, and which providers work is chance.
    """
    found = [name for name in _EXTRAS if _is_installed(name)]
    if len(found) > 1:
        raise DeviceError(
            f"{' and '.join(found)} are installed together and overwrite each other; run "
            f"`pip uninstall {' '.join(found)}` and install one of "
            f"{' and '.join(_EXTRAS[name] for name in found)}"
        )


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def first_line(problem: BaseException) -> str:
    """Return what an exception of ONNX Runtime says, shortened to go into a sentence."""
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0][:200]


def _not_loaded(problem: BaseException) -> DeviceError:
    if short_of_memory(problem):
        return DeviceError(
            f"there is not enough memory to load onnxruntime ({first_line(problem)}); free some, "
            "or raise the limit of this process"
        )
    return DeviceError(
        f"onnxruntime is installed and cannot be loaded ({first_line(problem)}); install what is "
        "missing, or onnxruntime again"
    )
