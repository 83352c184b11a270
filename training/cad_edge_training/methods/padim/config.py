"""Options of PaDiM."""

from typing import Any

from pydantic import Field

from cad_edge.schema import Record
from cad_edge_training.blocks import Blocks


class Config(Record):
    """Every option; unknown names are refused."""

    blocks: Blocks = Field(min_length=1, description="blocks looked at, ascending")
    dimensions: int = Field(default=100, ge=1, description="channels drawn at random")
    channel_seed: int = Field(default=0, ge=0, description="of that draw, one for all products")
    shrinkage: float = Field(default=0.01, gt=0, description="share of the mean variance added")
    smoothing: float = Field(default=4.0, ge=0, description="of the map, deviation in pixels")


def defaults_for(backbone: str) -> dict[str, Any]:
    """Values to start from: three depths as published, of a transformer one."""
    return {"blocks": (4, 7, 10) if backbone == "efficientnet-lite0" else (5,)}
