"""Options of the patch memory; which values a backbone starts from is in `defaults_for`."""

import re
from typing import Any

from pydantic import Field, model_validator

from cad_edge.schema import Record

_MEMORY = re.compile(r"(\d+(?:\+\d+)*)x(\d+)")


class MemorySpec(Record):
    """One memory bank; as text ``BLOCKSxSIZE``, for example ``7+10x256``."""

    blocks: tuple[int, ...] = Field(
        min_length=1, description="blocks whose feature maps are concatenated into patches"
    )
    size: int = Field(ge=1, description="k-means centres kept per task")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if (parts := _MEMORY.fullmatch(value.strip())) is None:
            raise ValueError(f"{value!r} is not BLOCKSxSIZE, for example 7+10x256")
        blocks, size = parts.groups()
        return {"blocks": blocks.split("+"), "size": size}

    @model_validator(mode="after")
    def _in_order(self) -> "MemorySpec":
        if list(self.blocks) != sorted(set(self.blocks)):
            raise ValueError("blocks must be ascending and without repetition")
        return self

    @property
    def name(self) -> str:
        """Name of the patch features."""
        return "+".join(str(block) for block in self.blocks)


class Config(Record):
    """Every option; unknown names are refused."""

    memories: tuple[MemorySpec, ...] = Field(
        min_length=1, description="one memory bank per scale, BLOCKSxSIZE"
    )
    shrinkage: float = Field(
        default=0.01, gt=0, description="of the whitening: share of the mean eigenvalue added"
    )
    statistics_blocks: tuple[int, ...] = Field(
        default=(), description="blocks whose channel statistics judge the image as a whole"
    )
    statistics_shrinkage: float = Field(
        default=0.05, gt=0, description="as shrinkage, of the channel statistics"
    )
    statistics_rank: int = Field(
        default=64, ge=1, description="principal directions kept apart; the rest share a variance"
    )
    smoothing: float = Field(
        default=4.0, ge=0, description="standard deviation of the map's Gaussian, in pixels"
    )
    keys: int = Field(default=196, ge=1, description="patches of the published key set")

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        names = [memory.name for memory in self.memories]
        if len(set(names)) < len(names):
            raise ValueError("two memories have the same blocks; give one with both sizes added up")
        return self

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks of the first memory."""
        return self.memories[0].blocks

    @property
    def all_blocks(self) -> tuple[int, ...]:
        """Every block whose features are looked at, ascending."""
        parts = [memory.blocks for memory in self.memories]
        found = {block for part in parts for block in part} | {*self.statistics_blocks}
        return tuple(sorted(found))

    @property
    def last_block(self) -> int:
        """Deepest block that has to run."""
        return self.all_blocks[-1]


def defaults_for(backbone: str) -> dict[str, Any]:
    """Values to start from for a backbone; README.md has the table that they were chosen by."""
    if backbone == "efficientnet-lite0":
        return {"memories": ("7+10x256", "4x256"), "statistics_blocks": (7, 10)}
    return {"memories": ("5x256",), "statistics_blocks": (5,)}
