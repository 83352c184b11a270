"""The advice as one versioned JSON record; the report is made of it.

Times are milliseconds of one routed frame and sizes bytes wherever a name does not say otherwise.
"""

from typing import Literal

from pydantic import AliasChoices, Field

from cad_edge.schema import Record, Sha256, TaskName
from cad_edge_benchmarks.instruments.conditions import Environment
from cad_edge_benchmarks.instruments.report_schema import Budget

KIND: Literal["cad-edge advice"] = "cad-edge advice"
FORMAT: Literal[1] = 1


class Share(Record):
    """How many of how many."""

    hits: int
    total: int


class Accuracy(Record):
    """Figures on one split of the test images, every image routed on its own."""

    image_auroc: float = Field(description="mean over tasks")
    error: float = Field(description="its standard error, by a bootstrap over images")
    pixel_auroc: float | None = Field(description="mean over tasks with masks; null without any")
    routed_good: Share
    routed_defective: Share
    by_task: dict[TaskName, float] = Field(description="image AUROC")


class MeasuredSetting(Record):
    """One setting."""

    name: str
    changes: dict[str, str] = Field(description="values that are not default, by axis")
    size: int = Field(description="input side in pixels")
    options: list[str] = Field(description="of the method, NAME=VALUE")
    precision: str
    accuracy: Accuracy = Field(description="on the selection split")
    to_best: float = Field(
        description="its image AUROC less that of the most accurate setting within the budgets, "
        "or of all if none is within"
    )
    to_best_error: float = Field(description="standard error of that difference")
    p50: float
    p90: float
    frames: int = Field(description="timed")
    peak_memory: int | None = Field(description="of a device process; null where not told")
    task_bytes: float = Field(description="of the bundle for one task; mean over tasks")
    bundle_bytes: int
    on_front: bool = Field(
        description="none is at least as accurate and as fast, and better in one"
    )
    within: bool = Field(description="whether it keeps every stated budget")


class RefusedSetting(Record):
    """A setting that could not be learned, exported or opened."""

    name: str
    reason: str


class ReportedPair(Record):
    """Figures on the evaluation split, which had no part in the choice."""

    taken: Accuracy
    default: Accuracy
    difference: float = Field(description="image AUROC of the setting taken less the default's")
    difference_error: float


class ProductFacts(Record):
    """What one product was learned and judged from, in images."""

    name: TaskName
    path: str
    learned: int
    selection: Share = Field(
        validation_alias=AliasChoices("selection", "choosing"), description="defective among all"
    )
    evaluation: Share = Field(
        validation_alias=AliasChoices("evaluation", "reporting"), description="defective among all"
    )
    synthetic: str | None = Field(
        validation_alias=AliasChoices("synthetic", "stand_in"),
        description="why synthetic anomalies on held-out good images judge it; null for real ones",
    )


class AdviceRequest(Record):
    """What was asked for, with every default written out."""

    data: str = Field(description="the stream")
    method: str
    backbone: str
    fixed: list[str] = Field(description="options that every setting has")
    axes: dict[str, list[str]] = Field(description="values, the default first")
    seed: int
    threads: int
    device: str


class Advice(Record):
    """One run of `cad-edge advise`."""

    kind: Literal["cad-edge advice"] = KIND
    format: Literal[1] = FORMAT
    made_at: str = Field(description="UTC, ISO 8601")
    asked: AdviceRequest
    environment: Environment
    device: str = Field(description="what the graphs ran on")
    data_sha256: Sha256 = Field(description="over products, images, masks and labels")
    products: list[ProductFacts]
    settings: list[MeasuredSetting] = Field(min_length=1, description="the default first")
    refused: list[RefusedSetting]
    limits: dict[str, float] = Field(description="stated budgets, by unit: ms, MB")
    taken: str | None = Field(description="name of the setting to take; null if none fits")
    nearest: list[Budget] = Field(description="if none fits: what the nearest setting takes")
    nearest_name: str | None
    reported: ReportedPair | None = Field(description="null if no setting is taken")
    commands: list[str] = Field(description="that learn and export the setting taken")

    def setting(self, name: str) -> MeasuredSetting:
        """Return the setting with this name."""
        return next(one for one in self.settings if one.name == name)
