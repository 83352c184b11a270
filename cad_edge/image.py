"""Image recipe (being written)."""

from typing import Literal

from pydantic import Field

from cad_edge.schema import Record


class ImageRecipe(Record):
    """How a decoded frame becomes a network's input; one implementation for every use."""

    width: int = Field(ge=8, le=4096)
    height: int = Field(ge=8, le=4096)
    resample: Literal["bilinear"] = "bilinear"
    channels: Literal["rgb"] = "rgb"
