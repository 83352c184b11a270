"""Options of CMPMB; which values a backbone starts from is in `defaults_for`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from cad_edge.schema import Record


class Config(Record):
    """Every option; unknown names are refused.

    The published method is: one block's features, a greedy k-centre memory of 196, prompts, the
    text branch, sigmoid normalisation and the largest patch as the image score. The other values
    go beyond the paper and are measured in README.md.
    """

    blocks: tuple[int, ...] = Field(
        description="blocks whose feature maps are concatenated into patch features", min_length=1
    )
    pooling: int = Field(
        default=1, ge=1, description="side of the average pooling of patch features, in patches"
    )
    memory: Literal["k_center", "k_means"] = "k_center"
    memory_size: int = Field(default=196, ge=1, description="patches kept per task")
    whitening: bool = Field(
        default=False, description="whiten patch features by the task's own covariance"
    )
    shrinkage: float = Field(
        default=0.01, gt=0, description="fraction of the mean eigenvalue added to all of them"
    )
    statistics_blocks: tuple[int, ...] = Field(
        default=(), description="blocks whose channel statistics join the image score"
    )
    statistics_shrinkage: float = Field(default=0.05, gt=0)
    top_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the image score averages this fraction of the highest patches; 0: the maximum",
    )
    normalisation: Literal["sigmoid", "standard"] = "sigmoid"
    slope: float = Field(default=1.5, gt=0, description="k of the sigmoid (ANM)")
    smoothing: float = Field(
        default=4.0, ge=0, description="standard deviation of the map's Gaussian, in pixels"
    )
    keys: int = Field(default=196, ge=1, description="patches of the published key set")

    prompts: bool = True
    prompt_from_block: int = Field(default=0, ge=0, description="first block with a prompt")
    prompt_length: int = Field(default=1, ge=1, description="rows of keys, and as many of values")
    epochs: int = Field(default=50, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    batch_size: int = Field(default=8, ge=1)
    temperature: float = Field(default=0.5, gt=0, description="of the contrastive loss")
    contrastive_form: Literal["bounded", "paper"] = "bounded"
    regions: str = Field(default="slic", description="slic, or sam:ID with a hub id or folder")

    text: bool = True
    class_name: str = Field(default="", description="words for the product; the task's name if ''")
    text_layer: Literal["same", "last"] = "same"
    text_vectors: int = Field(default=5, ge=1, description="learned vectors of the text prompt")
    text_epochs: int = Field(default=50, ge=1)
    text_learning_rate: float = Field(default=5e-5, gt=0)
    visual_weight: float = Field(default=0.9, ge=0, le=1, description="alpha of DFS")

    @model_validator(mode="after")
    def _ordered(self) -> "Config":
        if list(self.blocks) != sorted(set(self.blocks)):
            raise ValueError("blocks must be ascending and without repetition")
        return self

    @property
    def last_block(self) -> int:
        """Deepest block that has to run."""
        return max(self.blocks + self.statistics_blocks)


def defaults_for(backbone: str) -> dict[str, Any]:
    """Values to start from for a backbone; the measured table in README.md is why."""
    if backbone == "efficientnet-lite0":
        return {
            "blocks": (7, 10),
            "memory": "k_means",
            "memory_size": 512,
            "whitening": True,
            "statistics_blocks": (4, 7),
            "top_fraction": 0.01,
            "normalisation": "standard",
            "prompts": False,
            "prompt_from_block": 5,
            "learning_rate": 5e-3,
            "epochs": 10,
            "text": False,
        }
    if backbone.startswith("dinov2:"):
        return {"blocks": (5,), "text": False}
    return {"blocks": (5,)}
