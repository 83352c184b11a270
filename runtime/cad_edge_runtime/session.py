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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cad_edge.errors import CadEdgeError, DeviceError, GraphError
from cad_edge.memory_shortage import short_of_memory
from cad_edge.onnxruntime_installation import (
    EXACT_PRODUCTS,
    FATAL_ONLY,
    InferenceSession,
    first_line,
    load_onnxruntime,
    open_session,
)
from cad_edge.store.bundle import Bundle
from cad_edge_runtime.cores import available_cores, require_startable, require_threads
from cad_edge_runtime.device import CPU, Device, choose_device, providers_for, verify_device
from cad_edge_runtime.forked import never_delete, opened_elsewhere, tell_in_child
from cad_edge_runtime.inventory import Inventory
from cad_edge_runtime.plans import PlanCache, cache_root, read_gpu_facts

Array = np.ndarray[Any, np.dtype[Any]]

_GRAPH = "graph.onnx"
_WRONG_INPUTS = "InvalidArgument"  # ONNX Runtime's exception
_SPINNING = {
    "session.intra_op.allow_spinning": "1",
    "session.intra_op.spin_duration_us": "10",
    "session.force_spinning_stop": "1",
    "session.inter_op.allow_spinning": "0",
}
"""Session options by key; docs/decisions/0010-threads-spin-briefly.md has the measurements."""


class GraphSession:
    """One graph, ready to run from any thread."""

    def __init__(self, graph: str, session: InferenceSession) -> None:
        self.graph = graph
        self.inputs = frozenset(value.name for value in session.get_inputs())
        self.outputs = frozenset(value.name for value in session.get_outputs())
        self._provider = next(iter(session.get_providers()), CPU)
        self._run = session.run
        tell_in_child(self)

    def lose_threads(self) -> None:
        """Run nothing any more, in a child of the process that made the session."""
        never_delete(self._run)
        self._run = self._run_elsewhere

    def _run_elsewhere(
        self, outputs: Sequence[str] | None, feed: Mapping[str, object], /
    ) -> list[Array]:
        raise opened_elsewhere(f"graph {self.graph[:12]}")

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
        """Run the graph and return ``outputs``.

        Raises
        ------
        GraphError
            The inputs do not fit the graph.
        DeviceError
            There is not enough memory, or what runs the graph has failed.
        """
        try:
            return self._run(outputs, feed)
        except CadEdgeError:
            raise
        except Exception as problem:
            refuse_little_memory(problem, self.graph)
            if self._provider != CPU and type(problem).__name__ != _WRONG_INPUTS:
                raise DeviceError(
                    f"{self._provider} failed with graph {self.graph[:12]} "
                    f"({first_line(problem)}); check the driver and libraries, or use device='cpu'"
                ) from problem
            raise GraphError(
                f"graph {self.graph[:12]} failed: {first_line(problem)}; export the bundle again"
            ) from problem


class SessionFactory:
    """Creates sessions for the graphs of one bundle on one device."""

    def __init__(self, device: str, threads: int | None, bundle: Bundle) -> None:
        self._threads = require_threads(threads) or available_cores()
        self._onnxruntime = load_onnxruntime()
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
        require_startable(self._threads)
        large = bool(self.inventory.graph(graph, inputs, outputs).external)
        with self._folder(graph) as folder:
            session = self._session(folder, graph, large)
        self.device = verify_device(self.device, session.get_providers())
        if self.device.on_gpu:
            # The first session settles it: a later one elsewhere would not find the tensors.
            self.device = replace(self.device, strict=True)
        return GraphSession(graph, session)

    def _folder(self, graph: str) -> AbstractContextManager[Path]:
        """Give the folder to load a graph from, whose bytes have been hashed."""
        if self._bundle.checks_signatures:
            return self._bundle.private_copy(graph)
        return nullcontext(self.inventory.folder(graph))

    def _session(self, folder: Path, graph: str, large: bool) -> InferenceSession:
        """Make a session; where a GPU cannot, the CPU shows what is at fault."""
        try:
            return self._session_on(self.device, folder, graph, large)
        except CadEdgeError:
            raise
        except Exception as problem:
            if self.device.name == "cpu":
                raise self._not_loaded(problem, graph) from problem
            failed = problem
        try:
            session = self._session_on(Device("cpu", strict=False), folder, graph, large)
        except Exception as problem:
            raise self._not_loaded(problem, graph) from problem
        if self.device.strict:
            raise DeviceError(
                f"device {self.device.name!r} cannot load graph {graph[:12]} of "
                f"{self._bundle.path}, which the CPU can ({first_line(failed)}); check the driver "
                "and libraries, or use device='cpu'"
            ) from failed
        return session

    def _session_on(
        self, device: Device, folder: Path, graph: str, large: bool
    ) -> InferenceSession:
        plans = self._plans.folder(graph, {}) if self._plans else None
        providers = providers_for(device, self._threads, plans)
        options = _options(self._onnxruntime, self._threads, large and device.name == "cpu")
        return open_session(
            self._onnxruntime, str(folder / _GRAPH), options, providers.names, providers.options
        )

    def _not_loaded(self, problem: Exception, graph: str) -> CadEdgeError:
        refuse_little_memory(problem, graph)
        return GraphError(
            f"graph {graph[:12]} of {self._bundle.path} cannot be loaded: {first_line(problem)}; "
            "export the bundle again"
        )

    def place(self, tensor: Array) -> object:
        """Put a bound tensor where the graphs run; beside a CPU the array is used as it is."""
        if not self.device.on_gpu:
            return tensor
        try:
            value: object = self._onnxruntime.OrtValue.ortvalue_from_numpy(
                tensor, "cuda", self.device.index
            )
        except Exception as problem:
            raise DeviceError(
                f"tensors of {self._bundle.path} cannot be put on device {self.device.name!r} "
                f"({first_line(problem)}); free memory of the GPU, or use device='cpu'"
            ) from problem
        return value


def _options(onnxruntime: ModuleType, threads: int, one_arena: bool) -> object:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL_ONLY
    for key, value in (*_SPINNING.items(), EXACT_PRODUCTS):
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


def refuse_little_memory(problem: Exception, graph: str) -> None:
    """Raise DeviceError where it is memory that is lacking, which no other bundle would cure."""
    if short_of_memory(problem):
        raise DeviceError(
            f"there is not enough memory for graph {graph[:12]} ({first_line(problem)}); free "
            "some, use fewer threads, or raise the limit of this process"
        ) from problem
