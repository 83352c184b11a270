"""Options of IB-IUMAD; what the embedded backbone starts from is in `defaults_for`."""

from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from cad_edge.schema import Record
from cad_edge_training.gaussian import Resize
from cad_edge_training.methods.ib_iumad.fusion import FusionKind

Modality: TypeAlias = Literal["rgbd", "rgb", "depth"]


class Config(Record):
    """Every option; unknown names are refused. Defaults are the paper's, or it is said."""

    modality: Modality = Field(
        default="rgbd", description="what is looked at: image and depth, or one of them alone"
    )
    target: Literal["both", "rgb"] = Field(
        default="both",
        description="features that are reconstructed where both are looked at: those of both, or "
        "as in the paper of the image alone",
    )
    residual: Literal["whitened", "plain"] = Field(
        default="whitened",
        description="how far what was seen is from what was restored: by the covariance of good "
        "parts' own differences, which the paper does not have, or the length alone, its Eq. 9",
    )
    reconstruct: bool = Field(
        default=True,
        description="restore features by a network; without one a product is one Gaussian of its "
        "own features, nothing is shared and nothing forgotten",
    )
    resize: Resize = Field(
        default="bilinear",
        description="how features of early stages come to the last one's grid: bilinear looks at 4 "
        "values of a cell, area is the mean of all",
    )
    width: int = Field(default=256, ge=8, description="of tokens in the reconstruction networks")
    layers: int = Field(
        default=4, ge=2, description="encoder layers, as many decoder layers and Mamba decoders"
    )
    heads: int = Field(default=8, ge=1, description="of every attention")
    inner: int = Field(default=1024, ge=8, description="width within feed-forward parts")
    states: int = Field(default=16, ge=1, description="of the selective scan, for every channel")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="everywhere")
    mamba: bool = Field(default=True, description="condition the encoders by a label branch")
    fusion: FusionKind = Field(default="cross_attention", description="how modalities are fused")
    bottleneck: bool = Field(default=True, description="few channels behind the fusion")
    divergence: bool = Field(
        default=True,
        description="heads that tell products apart by what is fused and by what is restored, and "
        "the divergence between them (Eq. 8-10)",
    )
    detach_conditions: bool = Field(
        default=True, description="let the class loss alone shape the label branch"
    )
    standardise: bool = Field(
        default=True,
        description="scale every channel of the frozen features by its deviation over the first "
        "step's training images; the paper does not",
    )
    jitter: float = Field(default=20.0, ge=0, description="scale of the noise on tokens, learning")

    start: Literal["random", "fitted"] = Field(
        default="random",
        description="weights that the first step starts from: drawn, or by what its images' "
        "features are like, which saves updates",
    )
    epochs: int = Field(
        default=1000,
        ge=0,
        description="passes over the images of the first step; 0: a fitted start",
    )
    step_epochs: int = Field(default=800, ge=1, description="passes of every further step")
    batch: int = Field(default=24, ge=1, description="images per update, first step")
    step_batch: int = Field(default=24, ge=1, description="images per update, further steps")
    learning_rate: float = Field(default=1e-4, gt=0, description="of AdamW, first step")
    weight_decay: float = Field(default=1e-4, ge=0, description="of AdamW")
    class_weight: float = Field(
        default=1.0,
        ge=0,
        description="of the losses about classes beside a reconstruction summed over channels",
    )
    clip: float = Field(default=0.1, gt=0, description="largest norm of a gradient")
    drop_after: float = Field(
        default=0.8, gt=0, le=1, description="share of the first step after which the rate falls"
    )

    regulariser: bool = Field(
        default=True, description="IUF's three: compression, damped updates, pull to what was"
    )
    compression: float = Field(default=10.0, ge=0, description="weight of semantic compression")
    pull: float = Field(
        default=0.05, ge=0, lt=1, description="share of the old weights after every update"
    )
    step_rate: float = Field(
        default=0.1, gt=0, description="rate of damped updates; IUF's code has 1.0"
    )
    step_optimiser: Literal["sgd", "adamw"] = Field(
        default="sgd",
        description="what makes the updates that are damped; adamw learns in far fewer",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> "Config":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} do not divide width {self.width}")
        return self

    @model_validator(mode="after")
    def _judges_something(self) -> "Config":
        if self.epochs == 0 and self.start == "random":
            raise ValueError("epochs=0 leaves drawn weights, which restore nothing; start=fitted")
        if not self.reconstruct and self.residual == "plain":
            raise ValueError(
                "without a network there is nothing that features could differ from; "
                "residual=whitened, or reconstruct=true"
            )
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of what is looked at, image first."""
        return ("rgb", "depth") if self.modality == "rgbd" else (self.modality,)

    @property
    def targets(self) -> tuple[str, ...]:
        """Modalities whose features are reconstructed."""
        return self.modalities[:1] if self.target == "rgb" else self.modalities


def uses_depth(config: Config) -> bool:
    """Whether tasks are learned with depth."""
    return "depth" in config.modalities


def defaults_for(backbone: str) -> dict[str, Any]:
    """Options to start from for a backbone; fewer channels and passes for the embedded one.

    Paper: width 256, 4 layers, 1000 and 800 epochs at batch 24 on a graphics card. Here: what two
    cores learn in minutes, in so few updates that they start from what features are like and
    semantic compression is left out (decision 24 in docs/decisions).
    """
    if backbone != "efficientnet-lite0":
        return {}
    return {
        "resize": "area",
        "start": "fitted",
        "width": 128,
        "layers": 2,
        "heads": 4,
        "inner": 256,
        "states": 4,
        "dropout": 0.0,
        "jitter": 5.0,
        "epochs": 20,
        "step_epochs": 40,
        "batch": 16,
        "step_batch": 8,
        "step_optimiser": "adamw",
        "step_rate": 5e-4,
        "learning_rate": 1e-3,
        "compression": 0.0,
        "clip": 10.0,
    }
