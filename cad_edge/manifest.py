"""The manifest: one version of a bundle, as data.

An engine is a chain of stages, and a stage is a graph with every input bound to a source:

    frame/image    uint8 (batch, height, width, 3), the frame after the engine's image recipe
    frame/depth    float32 (batch, height, width)
    tensor/<name>  a tensor of the engine's tensor objects
    <k>/<output>   an output of stage k of the same chain

The selector is a chain too; its last stage gives ``distance`` float32 (batch, tasks), one column
per task. The last stage of an engine gives ``score`` float32 (batch,), where the method localises
``anomaly_map`` float32 (batch, h, w), and where it asks a language model ``probability`` float32
(batch,). A stage whose sources are all frames or outputs of
such stages is the same computation wherever it appears, so the runtime runs it once per frame:
that is how routing shares the trunk with detection.
"""

from typing import Literal, TypeAlias

from pydantic import Field

from cad_edge.artifact import BackboneIdentity, Provenance
from cad_edge.calibration import Calibration, Decision
from cad_edge.image import ImageRecipe
from cad_edge.schema import Record, Sha256, TaskName

FORMAT: Literal[1] = 1

Precision: TypeAlias = Literal["fp32", "fp16", "int8", "uint8"]


class Stage(Record):
    """One run of one graph."""

    graph: Sha256 = Field(description="object folder that holds graph.onnx")
    inputs: dict[str, str] = Field(description="graph input name to source")
    made_from: Sha256 | None = Field(
        default=None,
        description="what the exporter made the graph from; it reuses a graph of the same sha256",
    )


class Engine(Record):
    """A chain of stages with the tensors bound to it."""

    recipe: ImageRecipe
    stages: list[Stage] = Field(min_length=1)
    tensors: Sha256 | None = Field(description="object folder that holds tensors.safetensors")
    joint: list[Sha256] = Field(
        default=[],
        description="further such objects, which several engines name; a tensor that several of "
        "them hold is their concatenation along the first axis, in this order",
    )
    layout: Literal["shared", "fused"]
    precision: Precision

    def tensor_objects(self) -> list[str]:
        """Every object that tensors are read from."""
        return [*([] if self.tensors is None else [self.tensors]), *self.joint]


class Selector(Record):
    """How the product in a frame is recognised."""

    kind: Literal["discriminant", "key_set"]
    engine: Engine
    tasks: list[TaskName] = Field(description="task of each column of the output `distance`")


class Quantisation(Record):
    """Evidence that an eight-bit engine judges as the float engine does."""

    calibration_images: int = Field(description="good parts that ranges were measured on")
    evidence_normal: int = Field(description="further good parts, for the evidence alone")
    evidence_defective: int = Field(description="the latter with synthetic defects")
    kept_in_float: list[str] = Field(description="convolutions that lost too much in eight bits")
    score_shift: float = Field(description="by how much rounding moves scores of good parts")
    rank_correlation: float = Field(description="Spearman's, of scores over the evidence")
    smallest_rank_correlation: float
    flips_normal: int = Field(description="good parts whose verdict changes")
    flips_defective: int = Field(description="synthetic defects whose verdict changes")
    largest_flip_rate: float


class Certificate(Record):
    """Proof that an engine answers as torch did; differences are fractions of the score range."""

    reference: str = Field(description="what the engine was compared with, e.g. torch 2.13.0")
    runtime: str = Field(description="what ran the engine, e.g. onnxruntime 1.31.1 CPU")
    witness_images: int
    adversarial_images: int
    tolerance: float | None = Field(
        description="largest difference allowed; None where `quantisation` decides"
    )
    score_range: float
    score_max: float
    score_mean: float
    map_max: float | None
    map_mean: float | None
    flips: int = Field(description="images whose verdict differs at the calibrated threshold")
    drift: float | None = Field(
        default=None,
        description="largest change of a witness score since the task was learned, in units of the "
        "score; None where later tasks change nothing",
    )
    quantisation: Quantisation | None = Field(default=None, description="of eight-bit engines only")


class TaskEntry(Record):
    """One product in one version of the bundle."""

    method: str
    position: int
    artifact: Sha256
    engine: Engine
    routing: Sha256 = Field(description="object of routing statistics; read by the exporter only")
    radius: float = Field(gt=0, description="selector distance beyond which a frame is unknown")
    calibration: Calibration
    decision: Decision
    certificate: Certificate
    hyperparameters: dict[str, object]
    provenance: Provenance


class Manifest(Record):
    """One version of a bundle."""

    format: Literal[1] = FORMAT
    version: int = Field(ge=1)
    previous: Sha256 | None = Field(description="manifest of the version before")
    backbone: BackboneIdentity
    selector: Selector
    tasks: dict[TaskName, TaskEntry]

    def objects(self) -> set[str]:
        """Every object that this version names."""
        engines = [self.selector.engine, *(task.engine for task in self.tasks.values())]
        graphs = {stage.graph for engine in engines for stage in engine.stages}
        tensors = {sha for engine in engines for sha in engine.tensor_objects()}
        return graphs | tensors | {task.routing for task in self.tasks.values()}


class Pointer(Record):
    """``bundle.json``: the version that is in force."""

    format: Literal[1] = FORMAT
    manifest: Sha256
    version: int = Field(ge=1)
