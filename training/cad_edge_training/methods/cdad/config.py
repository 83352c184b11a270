"""Options of CDAD; what the embedded backbone starts from is in `defaults_for`."""

from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from cad_edge.schema import Record
from cad_edge_training.blocks import Blocks
from cad_edge_training.methods.cdad.schedule import Prediction, Start

Projection: TypeAlias = Literal["update", "gradient", "none"]
Bases: TypeAlias = Literal["gram", "isvd", "paper_isvd"]


class Config(Record):
    """Every option; unknown names are refused. Defaults are the paper's, or it is said."""

    blocks: Blocks = Field(
        min_length=1,
        description="blocks whose features are the latents, on the deepest one's grid; the paper "
        "has an autoencoder's",
    )
    channels: int = Field(default=64, ge=1, description="latents: whitened principal directions")
    shrinkage: float = Field(
        default=0.05, gt=0, description="of the whitening: share of the mean variance added"
    )
    width: int = Field(default=64, ge=16, multiple_of=8, description="channels at the full grid")
    inner_width: int = Field(default=96, ge=16, multiple_of=8, description="at half the grid")
    convolutions: int = Field(default=2, ge=1, description="of the condition's local encoder")
    attention_layers: int = Field(default=2, ge=1, description="of its non-local encoder")
    heads: int = Field(default=4, ge=1, description="of its attention")
    window: int = Field(
        default=5, ge=1, description="cells around a cell that its attention may not see, odd"
    )

    initial: Literal["small", "drawn"] = Field(
        default="drawn",
        description="what the first step starts from: drawn weights, or the ones that were learned "
        "on procedural surfaces and parts and come with cad-edge, whose norms, biases and time "
        "embedding never move",
    )
    prediction: Prediction = Field(
        default="epsilon", description="what the network predicts: the latent, or its noise"
    )
    start: Start = Field(
        default="999",
        description="how noise is added before sampling: up to the first point in time that is "
        "sampled, or as published up to 999 and read as 901",
    )
    first_time: int = Field(
        default=901, ge=1, le=999, description="first point in time that is sampled"
    )
    steps: int = Field(default=10, ge=1, le=1000, description="of the sampler, DDIM")
    perturbed: float = Field(
        default=0.5, ge=0, le=1, description="share of conditions with a synthetic defect"
    )
    jitter: float = Field(
        default=0.0,
        ge=0,
        description="largest deviation of Gaussian noise on the latents that the condition is "
        "told while it learns; the paper has none",
    )

    updates: int = Field(default=300, ge=1, description="of every step; the paper has epochs")
    batch: int = Field(default=12, ge=1, description="images per update")
    learning_rate: float = Field(default=1e-5, gt=0, description="of AdamW")
    schedule: Literal["constant", "linear"] = Field(
        default="constant",
        description="of the rate: as published it stays; linear rises over the first updates and "
        "then falls to 0",
    )
    weight_decay: float = Field(
        default=0.01, ge=0, description="of AdamW in the first step; later ones have none"
    )

    projection: Projection = Field(
        default="update",
        description="what is kept out of the directions of older products: the optimiser's update, "
        "as released its gradient, or nothing",
    )
    bases: Bases = Field(
        default="gram",
        description="how those directions are found: from second moments, by incremental SVD, or "
        "by that as printed",
    )
    energy: float = Field(
        default=0.999, gt=0, le=1, description="share of a layer's input energy that is protected"
    )
    sampled: float = Field(
        default=0.1, gt=0, le=1, description="share of good parts whose inputs are recorded"
    )
    exemplars: int = Field(
        default=0,
        ge=0,
        description="good parts of each product whose latents are kept, and whose reconstruction "
        "later steps are held to; the paper keeps none",
    )
    distillation: float = Field(
        default=1.0, gt=0, description="weight of that, for every older product"
    )

    share: float = Field(
        default=0.01, gt=0, le=1, description="of the map, the highest, whose mean is the score"
    )
    smoothing: float = Field(
        default=5.0, ge=0, description="standard deviation of the map's Gaussian, in pixels"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        if self.window % 2 == 0:
            raise ValueError(f"window {self.window} has no cell in the middle; give an odd one")
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} do not divide width {self.width}")
        if self.steps > self.first_time:
            raise ValueError(
                f"{self.steps} steps do not fit before point {self.first_time} of the schedule; "
                "give fewer steps or a later first_time"
            )
        return self


def defaults_for(backbone: str) -> dict[str, Any]:
    """Values to start from; those of the embedded trunk are for minutes on two cores."""
    if backbone.startswith("sd:"):
        return {"blocks": (4,), "window": 7, "attention_layers": 8, "heads": 8}
    if backbone != "efficientnet-lite0":
        return {"blocks": (3, 7, 11), "window": 7}
    return {
        "blocks": (4, 7, 10),
        "prediction": "x0",
        "start": "matched",
        "first_time": 501,
        "steps": 2,
        "initial": "small",
        "jitter": 1.0,
        "batch": 16,
        "learning_rate": 2e-3,
        "schedule": "linear",
        "projection": "none",
        "energy": 0.95,
        "exemplars": 24,
    }
