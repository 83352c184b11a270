"""Sessions: a verified graph, made ready to run on a device.

A graph is hashed by the bundle store and walked by ``graph_check`` before ONNX Runtime sees it.

Every session keeps its own threads, which spin for work for microseconds and only while their graph
runs. A detector runs small graphs one after the other, and threads of the session that is not
running take the cores from the one that is: two chained convolution graphs of 1.5 ms each on two
cores take 11.6 ms with ONNX Runtime's default, 8.6 ms with one global pool (which spins as well,
and whose size the first caller in the process fixes for everyone) and 3.2 ms without any spinning.
Between the operators of one graph, on the other hand, sleeping and waking costs a fifth of a frame.

Graphs with weights in a file of their own are large, and so is what they need while they run. Those
of a chain run one after another, so they take it from one arena, which grows by no more than they
ask for; docs/decisions/0020-memory-of-large-graphs.md has the measurements.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from cad_edge.errors import CadEdgeError, DeviceError, GraphError, OptionError
from cad_edge.onnxruntime_installation import refuse_several_wheels
from cad_edge.store.bundle import Bundle
from cad_edge_runtime.device import choose_device, providers_for, verify_device
from cad_edge_runtime.inventory import Inventory
from cad_edge_runtime.plans import PlanCache, cache_root, read_gpu_facts

Array = np.ndarray[Any, np.dtype[Any]]

_ERRORS_ONLY = 3
_GRAPH = "graph.onnx"
_SPINNING = {
    "session.intra_op.allow_spinning": "1",
    "session.intra_op.spin_duration_us": "10",
    "session.force_spinning_stop": "1",
    "session.inter_op.allow_spinning": "0",
}
"""Session options by key; docs/decisions/0010-threads-spin-briefly.md has the measurements."""


def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime, or raise DeviceError with what to install."""
    refuse_several_wheels()
    try:
        import onnxruntime
    except ImportError:
        raise DeviceError(
            "onnxruntime is not installed; run `pip install cad-edge[cpu]`, or cad-edge[gpu] on a "
            "machine with an NVIDIA GPU"
        ) from None
    # Some builds note every session in a file of the user's and send it; a line sends nothing.
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    module: ModuleType = onnxruntime
    return module


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Port(Protocol):
    name: str


class _Session(Protocol):
    """What is used of onnxruntime.InferenceSession."""

    def get_inputs(self) -> Sequence[_Port]: ...
    def get_outputs(self) -> Sequence[_Port]: ...
    def run(self, outputs: Sequence[str], feed: Mapping[str, object], /) -> list[Array]: ...


class GraphSession:
    """One graph, ready to run from any thread."""

    def __init__(self, graph: str, session: "_Session") -> None:
        self.graph = graph
        self.inputs = frozenset(value.name for value in session.get_inputs())
        self.outputs = frozenset(value.name for value in session.get_outputs())
        self._run = session.run

    def require(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Raise GraphError unless the graph takes exactly ``inputs`` and gives ``outputs``."""
        if self.inputs != set(inputs) or not self.outputs.issuperset(outputs):
            raise GraphError(
                f"graph {self.graph[:12]} takes {', '.join(sorted(self.inputs))} and gives "
                f"{', '.join(sorted(self.outputs))}, but the manifest binds "
                f"{', '.join(sorted(inputs))} and uses {', '.join(sorted(outputs))}; export the "
                "bundle again"
            )

    def run(self, outputs: Sequence[str], feed: Mapping[str, object]) -> list[Array]:
        """Run the graph and return ``outputs``; raise GraphError if the inputs do not fit it."""
        try:
            return self._run(outputs, feed)
        except Exception as problem:
            raise GraphError(
                f"graph {self.graph[:12]} failed: {_first_line(problem)}; export the bundle again"
            ) from problem


class SessionFactory:
    """Creates sessions for the graphs of one bundle on one device."""

    def __init__(self, device: str, threads: int | None, bundle: Bundle) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"threads={threads} is not allowed; use at least 1, or leave it out")
        self._onnxruntime = load_onnxruntime()
        self._threads = threads or available_cores()
        self._bundle = bundle
        self.inventory = Inventory(bundle)
        self.device = choose_device(device, self._onnxruntime.get_available_providers())
        self._plans = self._open_plans() if self.device.name == "tensorrt" else None
        if self.device.on_gpu and hasattr(self._onnxruntime, "preload_dlls"):
            self._onnxruntime.preload_dlls()

    def _open_plans(self) -> PlanCache:
        facts = read_gpu_facts(self._onnxruntime, self.device.index)
        plans = PlanCache(cache_root(self._bundle.path, os.environ), facts)
        plans.prune()
        return plans

    def create(self, graph: str, inputs: Sequence[str], outputs: Sequence[str]) -> GraphSession:
        """Verify and load the object ``graph``.

        Parameters
        ----------
        graph
            sha256 of the object.
        inputs, outputs
            Names that the graph must take, all of them, and must give, at least.

        Raises
        ------
        IntegrityError, GraphError, DeviceError
            The bytes, the graph or the device are not what they should be.
        """
        large = bool(self.inventory.graph(graph, inputs, outputs).external)
        folder = self.inventory.folder(graph)
        plan_folder = self._plans.folder(graph, {}) if self._plans else None
        providers = providers_for(self.device, self._threads, plan_folder)
        try:
            session = self._onnxruntime.InferenceSession(
                str(folder / _GRAPH),
                sess_options=_options(
                    self._onnxruntime, self._threads, large and self.device.name == "cpu"
                ),
                providers=providers.names,
                provider_options=providers.options,
            )
        except CadEdgeError:
            raise
        except Exception as problem:
            raise GraphError(
                f"graph {graph[:12]} of {self._bundle.path} cannot be loaded: "
                f"{_first_line(problem)}; export the bundle again"
            ) from problem
        self.device = verify_device(self.device, session.get_providers())
        return GraphSession(graph, session)

    def place(self, tensor: Array) -> object:
        """Put a bound tensor where the graphs run; beside a CPU the array is used as it is."""
        if not self.device.on_gpu:
            return tensor
        value: object = self._onnxruntime.OrtValue.ortvalue_from_numpy(
            tensor, "cuda", self.device.index
        )
        return value


def _options(onnxruntime: ModuleType, threads: int, one_arena: bool) -> object:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    for key, value in _SPINNING.items():
        options.add_session_config_entry(key, value)
    if one_arena:
        # The pattern of a run would be one more block, as large as all that is alive at once.
        options.enable_mem_pattern = False
        if _has_arena(onnxruntime):
            options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@functools.cache
def _has_arena(onnxruntime: ModuleType) -> bool:
    """Make the arena of large graphs, one in a process; say whether there is one."""
    kinds, memory = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType.DEFAULT
    place = onnxruntime.OrtMemoryInfo("Cpu", kinds.ORT_ARENA_ALLOCATOR, 0, memory)
    exactly = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
    try:
        onnxruntime.create_and_register_allocator(place, exactly)
    except Exception:  # the program around this one may have made another already
        return False
    return True


def _first_line(problem: Exception) -> str:
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0][:200]
