"""The advice on methods as one versioned JSON record; the report is made of it."""

from typing import Literal

from pydantic import Field

from cad_edge.schema import Record, Sha256, TaskName
from cad_edge_benchmarks.instruments.conditions import Environment

KIND: Literal["cad-edge advice on methods"] = "cad-edge advice on methods"
FORMAT: Literal[1] = 1


class Statement(Record):
    """What a method says of a product from its good parts."""

    value: float
    limit: float = Field(description="below it the method is not recommended")
    sentence: str


class MethodFigures(Record):
    """One method on the held-out parts of one product."""

    found: dict[str, float] = Field(
        description="share of synthetic defects found at the stated false-reject rate, by kind"
    )
    found_mean: float = Field(description="over kinds")
    found_error: float = Field(description="standard error of that mean")
    image_auroc: dict[str, float] = Field(description="by kind")
    image_auroc_mean: float
    suitability: Statement | None


class ProductAdvice(Record):
    """One product, and the method that suits it."""

    name: TaskName
    path: str
    learned: int = Field(description="good parts that every method learned from")
    held_out: int = Field(description="good parts that judged")
    methods: dict[str, MethodFigures] = Field(description="by name")
    refused: dict[str, str] = Field(description="why a method could not learn the product")
    taken: str
    reason: str = Field(description="one sentence")


class MethodsRequest(Record):
    """What was asked for, with every default written out."""

    data: str = Field(description="the stream")
    methods: list[str] = Field(min_length=2, description="the one that ties go to first")
    backbone: str
    seed: int
    threads: int


class MethodsAdvice(Record):
    """One run of `cad-edge advise` with several methods."""

    kind: Literal["cad-edge advice on methods"] = KIND
    format: Literal[1] = FORMAT
    made_at: str = Field(description="UTC, ISO 8601")
    asked: MethodsRequest
    environment: Environment
    data_sha256: Sha256 = Field(description="over products, images, masks and labels")
    stated_false_reject_rate: float
    products: list[ProductAdvice] = Field(min_length=1)
    commands: list[str] = Field(description="that learn every product and export one bundle")
