"""The record ``artifact.json``: how a task was learned, and the sha256 of all its files."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from cad_edge.calibration import Calibration
from cad_edge.data.depth import DepthRange
from cad_edge.data.image import ImageRecipe
from cad_edge.schema import Count, Name, Positive, Record, Sha256, TaskName, WithViews

FORMAT: Literal[1] = 1


class BackboneIdentity(Record):
    """Which frozen network gave the features: ``sha256`` is over all weights, names included."""

    id: str = Field(max_length=5000)
    sha256: Sha256


class Provenance(Record):
    """Where an artifact comes from."""

    seed: int
    versions: dict[Name, Name] = Field(max_length=1000)
    data_sha256: Sha256 = Field(description="over the decoded training images, in sorted order")
    images: Positive = Field(description="training images of good parts")
    seconds: float = Field(ge=0, description="wall-clock time of learning, data reading included")


class Artifact(WithViews):
    """``artifact.json``."""

    RARE: ClassVar[frozenset[str]] = frozenset({"views", "depth", "routing_recipe", "sha256"})

    format: Literal[1] = FORMAT
    method: Name
    task: TaskName
    position: Count = Field(description="place in the stream, 0 is the first task learned")
    backbone: BackboneIdentity
    recipe: ImageRecipe
    hyperparameters: dict[str, Any]
    calibration: Calibration
    false_reject_rate: float = Field(gt=0, lt=1, description="stated by the user in the stream")
    provenance: Provenance
    depth: DepthRange | None = Field(
        default=None, description="where measurements of good parts lie; None: learned without"
    )
    routing_recipe: ImageRecipe | None = Field(
        default=None,
        description="what images were brought to for the routing statistics; None: `recipe`",
    )
    sha256: dict[Name, Sha256] = Field(
        default={},
        max_length=100,
        description="of every file of the folder by its name; of artifact.json itself with these "
        "64 digits as zeros; none: written before there were any",
    )

    @property
    def recognised_at(self) -> ImageRecipe:
        """Recipe of the images by which the product is recognised."""
        return self.routing_recipe or self.recipe
