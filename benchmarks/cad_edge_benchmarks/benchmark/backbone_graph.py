"""The backbone alone, cut out of the graphs of an engine as they are, without torch or onnx.

The stages of an engine are joined into one graph, in which a value is called by its stage and name,
as the manifest calls it. The exporter names a weight by its place in the model, so those of the
backbone are known by a part ``backbone`` of their name. Of what leads to the engine's results, what
leads to the last of these weights stays; where depth passes the backbone as well, with its pass.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cad_edge.errors import GraphError, OptionError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine, Stage
from cad_edge_runtime.chain import Chain, plan_chain
from cad_edge_runtime.graph_check import GRAPH
from cad_edge_runtime.opening import Opening, OpenParts
from cad_edge_runtime.protobuf import BYTES, VARINT, fields, text
from cad_edge_runtime.session import SessionFactory

_BACKBONE = "backbone"
# Field numbers of onnx.proto: of a model, of a graph, and of names in their parts.
_MODEL_GRAPH = 7
_NODE, _GRAPH_NAME, _TENSOR, _INPUT, _OUTPUT = 1, 2, 5, 11, 12
_TAKEN, _GIVEN, _NODE_NAME, _TENSOR_NAME, _PORT_NAME = 1, 2, 3, 8, 1
_EXTERNAL, _KEY, _VALUE = 13, 1, 2  # of a tensor, and of an entry that says where its values lie

Rename = Callable[[str], str]


@dataclass(frozen=True)
class _Node:
    data: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class JoinedGraph:
    """The stages of an engine as one graph, which can be cut."""

    def __init__(self, engine: Engine, models: Sequence[bytes]) -> None:
        """Join ``models``, the ONNX files of the stages in their order."""
        self._nodes: list[_Node] = []
        self._tensors: dict[str, bytes] = {}
        self._inputs: dict[str, bytes] = {}
        self._results: list[str] = []
        self._handed_on = {
            source for source in engine.stages[-1].inputs.values() if source[0].isdecimal()
        }
        for place, (stage, model) in enumerate(zip(engine.stages, models, strict=True)):
            bound = stage.inputs

            def rename(name: str, place: int = place, bound: dict[str, str] = bound) -> str:
                return bound.get(name, f"{place}/{name}") if name else name

            for number, _, begin, end in fields(model, 0, len(model)):
                if number == _MODEL_GRAPH:
                    self._add(model[begin:end], rename, place)
        self._rest = models[-1]

    def _add(self, graph: bytes, rename: Rename, place: int) -> None:
        self._results = []
        for number, _, begin, end in fields(graph, 0, len(graph)):
            data = graph[begin:end]
            if number == _NODE:
                renamed = _renamed(data, (_TAKEN, _GIVEN, _NODE_NAME), rename)
                node = _Node(renamed, _names(renamed, _TAKEN), _names(renamed, _GIVEN))
                self._nodes.append(node)
            elif number == _TENSOR:
                name = rename(_names(data, _TENSOR_NAME)[0])
                moved = _rebuilt(
                    data, lambda number, one: _placed(one, place) if number == _EXTERNAL else one
                )
                self._tensors[name] = _renamed(moved, (_TENSOR_NAME,), rename)
            elif number == _INPUT:
                name = rename(_names(data, _PORT_NAME)[0])
                self._inputs[name] = _renamed(data, (_PORT_NAME,), rename)
            elif number == _OUTPUT:
                self._results.append(rename(_names(data, _PORT_NAME)[0]))

    def backbone_ends(self) -> list[str]:
        """Values that the backbone ends in: made with its weights and leading to no more of them.

        Where no weight is named as its own, what the last stage takes of the others.
        """
        constants = set(self._tensors)
        weights = {name for name in constants if _BACKBONE in name.partition("/")[2].split(".")}
        found = []
        for node in self._leading_to(self._results)[0]:
            given = set(filter(None, node.inputs))
            if given <= constants:  # dequantised weights, for example
                constants.update(node.outputs)
                weights.update(node.outputs if given & weights else ())
            elif given & weights:
                found.append(node.outputs[0])
        ends: list[str] = []
        for value in reversed(found):
            if value not in self._leading_to(ends)[1]:
                ends.append(value)
        return ends or sorted(self._handed_on)

    def cut(self, ends: Sequence[str]) -> tuple[bytes, tuple[str, ...]]:
        """Keep what leads to ``ends`` alone; the model, and its inputs that are left."""
        nodes, used = self._leading_to(ends)
        inputs = {name: port for name, port in self._inputs.items() if name in used}
        inputs = {name: port for name, port in inputs.items() if not name[0].isdecimal()}
        tensors = [tensor for name, tensor in self._tensors.items() if name in used]
        parts = [
            *((_NODE, node.data) for node in nodes),
            (_GRAPH_NAME, _BACKBONE.encode()),
            *((_TENSOR, tensor) for tensor in tensors),
            *((_INPUT, port) for port in inputs.values()),
            *((_OUTPUT, _field(_PORT_NAME, name.encode())) for name in ends),
        ]
        body = b"".join(_field(number, data) for number, data in parts)
        return _rebuilt(self._rest, lambda number, data: body if number == 7 else data), (*inputs,)

    def _leading_to(self, values: Iterable[str]) -> tuple[list[_Node], set[str]]:
        """Nodes that compute ``values``, in order, and every value that these use or are."""
        used = set(values)
        nodes = []
        for node in reversed(self._nodes):
            if used.intersection(node.outputs):
                nodes.append(node)
                used.update(node.inputs)
        return nodes[::-1], used


def _names(data: bytes, wanted: int) -> tuple[str, ...]:
    """Texts of one field of a message."""
    return tuple(
        text(data, begin, end)
        for number, wire, begin, end in fields(data, 0, len(data))
        if number == wanted and wire == BYTES
    )


def _renamed(data: bytes, numbers: tuple[int, ...], rename: Rename) -> bytes:
    """Give the texts of some fields of a message other names."""
    return _rebuilt(
        data, lambda number, one: rename(one.decode()).encode() if number in numbers else one
    )


def _rebuilt(data: bytes, change: Callable[[int, bytes], bytes]) -> bytes:
    """Write a message again with every text and submessage of it changed."""
    found = bytearray()
    for number, wire, begin, end in fields(data, 0, len(data)):
        if wire == BYTES:
            found += _field(number, change(number, data[begin:end]))
        else:
            key = _varint(number << 3 | wire)
            found += key + (_varint(begin) if wire == VARINT else data[begin:end])
    return bytes(found)


def _placed(entry: bytes, stage: int) -> bytes:
    """Name in an entry of external data the file that the weights of ``stage`` are in."""
    if _names(entry, _KEY) != ("location",):
        return entry
    (name,) = _names(entry, _VALUE)
    return _renamed(entry, (_VALUE,), lambda _: _file_of(stage, name))


def _file_of(stage: int, name: str) -> str:
    """Name that a file of a stage has beside the joined graph."""
    return f"{stage}-{name}"


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def open_backbone(bundle: Bundle, engine: Engine, place: Path, device: str, threads: int) -> Chain:
    """Cut the backbone out of ``engine`` and open it as an engine is opened.

    Parameters
    ----------
    bundle
        Holds the engine; only read.
    engine
        Of a task.
    place
        Folder in which the cut graph is put.
    device, threads
        As for the engine.

    Raises
    ------
    OptionError
        The backbone cannot be told from the rest of the engine.
    """
    if engine.precision not in ("fp32", "fp16"):
        raise OptionError(
            f"the scenario backbone needs an engine in fp32 or fp16, and this one is in "
            f"{engine.precision}, where weights have other names; export with --precision fp32"
        )
    files = [bundle.read_object(stage.graph) for stage in engine.stages]
    graph = JoinedGraph(engine, [one[GRAPH] for one in files])
    ends = graph.backbone_ends()
    if not ends:
        raise OptionError(
            "the scenario backbone needs graphs that name the weights of the backbone, and this "
            "engine's does not; export it with --layout shared"
        )
    model, inputs = graph.cut(ends)
    beside = {
        _file_of(stage, name): data
        for stage, one in enumerate(files)
        for name, data in one.items()
        if name != GRAPH
    }
    store = Bundle(place)
    graph_object = store.add_object({GRAPH: model, **beside})
    stage = Stage(graph=graph_object, inputs={name: name for name in inputs})
    for sha in engine.tensor_objects():
        store.add_object_folder(bundle.object_folder(sha))
    alone = engine.model_copy(update={"stages": [stage]})
    plan = plan_chain(alone, tuple(ends), "the backbone")
    opening = Opening(store, SessionFactory(device, threads, store), OpenParts())
    try:
        return opening.chain(plan, plan.wanted(), plan.wanted(), "the backbone")
    except GraphError as problem:
        raise OptionError(f"the backbone cannot be cut out of its engine: {problem}") from None
