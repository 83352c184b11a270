"""Options of CMPMB; which values a backbone starts from is in `defaults_for`."""

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from cad_edge.schema import Record

_MEMORY = re.compile(r"(\d+(?:\+\d+)*)(?:@(\d+))?x(\d+)")


class MemorySpec(Record):
    """One memory; as text ``BLOCKS[@POOLING]xSIZE``, for example ``7+10@3x256``."""

    blocks: tuple[int, ...] = Field(
        min_length=1, description="blocks whose feature maps are concatenated into patches"
    )
    pooling: int = Field(
        default=1, ge=1, description="side of the average pooling of patches; odd, in patches"
    )
    size: int = Field(default=196, ge=1, description="patches kept per task")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if (parts := _MEMORY.fullmatch(value.strip())) is None:
            raise ValueError(f"{value!r} is not BLOCKS[@POOLING]xSIZE, for example 7+10@3x256")
        blocks, pooling, size = parts.groups()
        return {"blocks": blocks.split("+"), "pooling": pooling or 1, "size": size}

    @model_validator(mode="after")
    def _in_order(self) -> "MemorySpec":
        if list(self.blocks) != sorted(set(self.blocks)):
            raise ValueError("blocks must be ascending and without repetition")
        if self.pooling % 2 == 0:
            raise ValueError("pooling must be odd, so that a patch lies in its middle")
        return self

    @property
    def group(self) -> str:
        """Name of the patch features; memories of one group share their whitening."""
        return "+".join(str(block) for block in self.blocks)


class Config(Record):
    """Every option; unknown names are refused.

    The published method is: one block's features, a greedy k-centre memory of 196, prompts, the
    text branch, sigmoid normalisation and the largest patch as the image score. The other values
    go beyond the paper and are measured in README.md.
    """

    memories: tuple[MemorySpec, ...] = Field(
        min_length=1, description="one per scale, BLOCKS[@POOLING]xSIZE; the first one is prompted"
    )
    compression: Literal["k_center", "k_means"] = Field(
        default="k_center",
        description="how patches are chosen: greedy k-centre, or Lloyd's centres",
    )
    whitening: bool = Field(
        default=False, description="whiten patch features by the task's own covariance"
    )
    shrinkage: float = Field(
        default=0.01, gt=0, description="fraction of the mean eigenvalue added to all of them"
    )
    statistics_blocks: tuple[int, ...] = Field(
        default=(), description="blocks whose channel statistics join the image score"
    )
    statistics_shrinkage: float = Field(
        default=0.05, gt=0, description="as shrinkage, of the channel statistics"
    )
    statistics_rank: int = Field(
        default=64, ge=1, description="principal directions kept apart; the rest share a variance"
    )
    border_correction: bool = Field(
        default=False,
        description="take off what zero padding adds to distances at the border of the grid",
    )
    top_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the image score averages this fraction of the highest patches; 0: the maximum",
    )
    normalisation: Literal["sigmoid", "standard"] = Field(
        default="sigmoid", description="sigmoid (ANM), or held-out mean 0 and deviation 1"
    )
    slope: float = Field(default=1.5, gt=0, description="k of the sigmoid (ANM)")
    smoothing: float = Field(
        default=4.0, ge=0, description="standard deviation of the map's Gaussian, in pixels"
    )
    excess: bool = Field(
        default=False,
        description="the map shows softplus of a patch, so that very normal patches hide nothing",
    )
    contrast: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="fraction of a frame's mean taken off its map: a change of light is no place",
    )
    keys: int = Field(default=196, ge=1, description="patches of the published key set")

    prompts: bool = Field(default=True, description="learn prompts")
    prompt_from_block: int = Field(default=0, ge=0, description="first block with a prompt")
    prompt_length: int = Field(default=1, ge=1, description="rows of keys, and as many of values")
    epochs: int = Field(default=50, ge=1, description="of prompt learning; the last one is kept")
    learning_rate: float = Field(default=5e-5, gt=0, description="of the prompts, Adam")
    batch_size: int = Field(default=8, ge=1, description="images per step of prompt learning")
    temperature: float = Field(default=0.5, gt=0, description="of the contrastive loss")
    contrastive_form: Literal["bounded", "paper"] = Field(
        default="bounded", description="UCAD's mean with a temperature, or the paper's plain sums"
    )
    regions: str = Field(default="slic", description="slic, or sam:ID with a hub id or folder")

    text: bool = Field(default=True, description="text branch; needs a backbone with a text tower")
    class_name: str = Field(default="", description="words for the product; the task's name if ''")
    text_layer: Literal["same", "last"] = Field(
        default="same", description="block whose patches meet the text: the memory's, or the last"
    )
    text_vectors: int = Field(default=5, ge=1, description="learned vectors of the text prompt")
    text_epochs: int = Field(default=50, ge=1, description="of text prompt learning")
    text_learning_rate: float = Field(default=5e-5, gt=0, description="of the text prompt, Adam")
    visual_weight: float = Field(default=0.9, ge=0, le=1, description="alpha of DFS")

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        if self.text and len(self.memories) > 1:
            raise ValueError("the text branch joins one memory; give one, or set text=false")
        if self.normalisation == "sigmoid" and len(self.memories) > 1:
            raise ValueError("the sigmoid is searched for one memory; set normalisation=standard")
        return self

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks of the first memory, whose features prompts and text branch look at."""
        return self.memories[0].blocks

    @property
    def last_block(self) -> int:
        """Deepest block that has to run."""
        return max(self.all_blocks)

    @property
    def all_blocks(self) -> tuple[int, ...]:
        """Every block whose features are looked at, ascending."""
        parts = [memory.blocks for memory in self.memories]
        return tuple(
            sorted({block for part in parts for block in part} | {*self.statistics_blocks})
        )

    @property
    def adds_up(self) -> bool:
        """Whether the image score is a sum of standardised parts, not one memory's raw value."""
        return bool(self.statistics_blocks) or len(self.memories) > 1


def defaults_for(backbone: str) -> dict[str, Any]:
    """Values to start from for a backbone; the measured table in README.md is why."""
    if backbone == "efficientnet-lite0":
        return {
            "memories": ("7+10x256", "7+10@3x128", "4x256"),
            "compression": "k_means",
            "whitening": True,
            "border_correction": True,
            "statistics_blocks": (4, 7),
            "top_fraction": 0.01,
            "normalisation": "standard",
            "excess": True,
            "contrast": 0.4,
            "prompts": False,
            "prompt_from_block": 5,
            "learning_rate": 5e-3,
            "epochs": 10,
            "text": False,
        }
    if backbone.startswith(("dinov2:", "efficientnet:")):
        return {"memories": ("5x196",), "text": False}
    return {"memories": ("5x196",)}
