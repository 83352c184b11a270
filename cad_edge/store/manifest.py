"""The manifest: one version of a bundle, as data.

An engine is a chain of stages, and a stage is a graph with every input bound to a source:

    frame/image    uint8 (batch, height, width, 3), the frame after the engine's image recipe;
                   (batch * views, ...) where a frame has several views, those of one together
    frame/depth    float32 (batch, height, width) in the sensor's units, 0 for no measurement
    tensor/<name>  a tensor of the engine's tensor objects
    <k>/<output>   an output of stage k of the same chain

The selector is a chain too; its last stage gives ``distance`` float32 (batch, tasks), one column
per task. The last stage of an engine gives ``score`` float32 (batch,), where the method localises
``anomaly_map`` float32 (batch, h, w), and where it asks a language model ``probability`` float32
(batch,). Where it tells levels of evidence apart, it gives ``levels`` float32 (batch, n), what each
adds to the score in units of held-out good parts, and may give ``level_maps`` float32
(batch, n, h, w), unsmoothed; the manifest then names them.

A stage whose sources are all frames or outputs of such stages is the same computation wherever it
appears, so the runtime runs it once per frame: that is how routing shares the trunk with detection.
"""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, StringConstraints, field_validator

from cad_edge.calibration import Calibration, Decision
from cad_edge.data.depth import DepthRange
from cad_edge.data.image import ImageRecipe
from cad_edge.schema import (
    Count,
    Name,
    OmitDefaults,
    Positive,
    Record,
    Sha256,
    TaskName,
    WithViews,
)
from cad_edge.store.artifact_record import BackboneIdentity, Provenance
from cad_edge.store.certificates import (
    Certificate,
    MergedShared,
    Quantisation,
    WordsCertificate,
)

__all__ = [
    "FORMAT",
    "MAXIMUM_TASKS",
    "Certificate",
    "Engine",
    "Explainer",
    "GraphLayout",
    "Manifest",
    "MergedShared",
    "Pointer",
    "Precision",
    "Prompt",
    "Quantisation",
    "Recognition",
    "Selector",
    "SelectorKind",
    "Source",
    "Stage",
    "TaskEntry",
    "Texts",
    "WordsCertificate",
]

FORMAT: Literal[1] = 1

Precision: TypeAlias = Literal["fp32", "fp16", "int8", "uint8"]
GraphLayout: TypeAlias = Literal["shared", "fused"]
"""One graph for all tasks of a method, or one file per task."""
Source: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
"""Where the value of a graph's input comes from, as listed above."""
Prompt: TypeAlias = Annotated[str, StringConstraints(max_length=100_000)]

MAXIMUM_TASKS = 4096
"""Tasks of one bundle; of 64 MB, the most that a manifest may hold, each has 16 kB then."""
MAXIMUM_LEVELS = 64
SelectorKind: TypeAlias = Literal["discriminant", "key_set"]


class Stage(Record):
    """One run of one graph."""

    graph: Sha256 = Field(description="object folder that holds graph.onnx")
    inputs: dict[Name, Source] = Field(max_length=1000, description="graph input name to source")
    made_from: Sha256 | None = Field(
        default=None,
        description="what the exporter made the graph from; it reuses a graph of the same sha256",
    )


class Engine(WithViews):
    """A chain of stages with the tensors bound to it; ``views`` is how many images a frame has."""

    recipe: ImageRecipe
    stages: list[Stage] = Field(fail_fast=True, min_length=1, max_length=1000)
    tensors: Sha256 | None = Field(description="object folder that holds tensors.safetensors")
    joint: list[Sha256] = Field(
        fail_fast=True,
        default=[],
        max_length=MAXIMUM_TASKS,
        description="further such objects, which several engines name; a tensor that several of "
        "them hold is their concatenation along the first axis, in this order",
    )
    layout: GraphLayout
    precision: Precision

    @field_validator("joint")
    @classmethod
    def _no_object_twice(cls, joint: list[str]) -> list[str]:
        if len(set(joint)) < len(joint):
            raise ValueError("an object of joint tensors is named twice")
        return joint

    def tensor_objects(self) -> list[str]:
        """Every object that tensors are read from."""
        return [*([] if self.tensors is None else [self.tensors]), *self.joint]


class Selector(Record):
    """How the product in a frame is recognised."""

    kind: SelectorKind
    engine: Engine
    tasks: list[TaskName] = Field(
        fail_fast=True,
        max_length=MAXIMUM_TASKS,
        description="task of each column of the output `distance`",
    )


class Texts(Record):
    """What stands around a question and its answer; each text is turned into tokens on its own."""

    before_image: Prompt = Field(description="opens the dialogue, up to where the image belongs")
    after_image: Prompt = Field(description="between the image and the first question")
    after_question: Prompt = Field(description="closes a question and opens its answer")
    between_turns: Prompt = Field(description="closes an answer and opens the next question")
    question: Prompt = Field(min_length=1, description="asked where the user asks nothing else")
    stop: list[Count] = Field(
        fail_fast=True,
        min_length=1,
        max_length=1000,
        description="tokens that end an answer, not part of it",
    )


class Explainer(Record):
    """How a task answers in words: a chain that looks at the frame, then a decoder in a loop.

    The inputs of ``decoder`` have sources as those of a stage after the last one of ``engine``, and
    those of the loop:

        loop/embeddings    float32 (1, t, width), of the tokens that are new
        loop/keys          float32 (layers, 1, kv_heads, s, head_width), of the s tokens before
        loop/values        float32, as keys; s may be 0

    It gives ``logits`` float32 (1, vocabulary), those after the last new token, and ``keys`` and
    ``values`` of all s + t tokens.
    """

    engine: Engine
    tokens: Source = Field(
        description="source in `engine`, <k>/<output>, of what the frame looks like to the "
        "decoder: float32 (views, n, width), read view after view"
    )
    decoder: Stage
    layers: int = Field(ge=1, le=1000)
    kv_heads: int = Field(ge=1, le=1000)
    head_width: int = Field(ge=1, le=100_000)
    positions: int = Field(
        ge=1, le=10_000_000, description="tokens that one dialogue can have, the image's too"
    )
    embedding: Sha256 = Field(
        description="object whose tensors.safetensors holds `embedding` (vocabulary, width), "
        "float32 or float16"
    )
    tokenizer: Sha256 = Field(description="object that holds tokenizer.json")
    texts: Texts
    certificate: WordsCertificate

    def objects(self) -> set[str]:
        """Every object that it names."""
        graphs = {stage.graph for stage in [*self.engine.stages, self.decoder]}
        return graphs | {*self.engine.tensor_objects(), self.embedding, self.tokenizer}


class Recognition(Record):
    """When a frame that is not surely the product counts as one of it all the same.

    Its engine runs, and with q = (lower quartile of the anomaly map - `map_level`) / `map_span` and
    r = distance / `sure` the frame shows another product where q sqrt(r) > `limit`.
    """

    sure: float = Field(
        gt=0, description="selector distance up to which a frame surely shows the product"
    )
    map_level: float = Field(description="lower quartile that maps of good parts hardly exceed")
    map_span: float = Field(
        gt=0, description="from there to the map threshold at a stated rate of 5 %"
    )
    limit: float = Field(gt=0)


class TaskEntry(OmitDefaults):
    """One product in one version of the bundle."""

    RARE: ClassVar[frozenset[str]] = frozenset({"depth", "levels", "recognition", "without_depth"})

    method: Name
    position: Count
    artifact: Sha256
    engine: Engine
    routing: Sha256 = Field(description="object of routing statistics; read by the exporter only")
    radius: float = Field(
        gt=0, description="selector distance beyond which a frame surely shows another product"
    )
    recognition: Recognition | None = Field(
        default=None,
        description="what decides about frames that are not sure; None: `radius` alone does",
    )
    calibration: Calibration
    decision: Decision
    certificate: Certificate
    hyperparameters: dict[str, object]
    provenance: Provenance
    explainer: Explainer | None = Field(default=None, description="None without words")
    depth: DepthRange | None = Field(
        default=None,
        description="where measurements lie; None: depth is not looked at",
    )
    without_depth: "TaskEntry | None" = Field(
        default=None, description="what answers frames that have no depth; None: they are refused"
    )
    levels: list[Name] = Field(
        fail_fast=True,
        default=[],
        max_length=MAXIMUM_LEVELS,
        description="levels of evidence that the engine tells apart, in the order of its output "
        "`levels`; empty: none",
    )

    @field_validator("levels")
    @classmethod
    def _no_level_twice(cls, levels: list[str]) -> list[str]:
        if len(set(levels)) < len(levels):
            raise ValueError("a level is named twice")
        return levels


class Manifest(Record):
    """One version of a bundle."""

    format: Literal[1] = FORMAT
    version: Positive
    previous: Sha256 | None = Field(description="manifest of the version before")
    backbone: BackboneIdentity
    selector: Selector
    tasks: dict[TaskName, TaskEntry] = Field(max_length=MAXIMUM_TASKS)

    def entries(self) -> list["TaskEntry"]:
        """Every task, and what answers its frames without depth."""
        return [one for task in self.tasks.values() for one in (task, task.without_depth) if one]

    def objects(self) -> set[str]:
        """Every object that this version names."""
        entries = self.entries()
        engines = [self.selector.engine, *(entry.engine for entry in entries)]
        graphs = {stage.graph for engine in engines for stage in engine.stages}
        tensors = {sha for engine in engines for sha in engine.tensor_objects()}
        explainers = [entry.explainer for entry in entries if entry.explainer is not None]
        words = {sha for explainer in explainers for sha in explainer.objects()}
        return graphs | tensors | words | {entry.routing for entry in entries}


class Pointer(OmitDefaults):
    """``bundle.json``: the version that is in force."""

    RARE: ClassVar[frozenset[str]] = frozenset({"signature"})

    format: Literal[1] = FORMAT
    manifest: Sha256
    version: int = Field(ge=1)
    signature: Sha256 | None = Field(
        default=None, description="folder of the signed statement about it; None: unsigned"
    )
