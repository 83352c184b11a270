"""Options of AnomalyMoE; which values a backbone starts from is in `defaults_for`."""

import re
from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from cad_edge.schema import Record
from cad_edge_training.blocks import Blocks

Level: TypeAlias = Literal["patch", "component", "global"]
Routing: TypeAlias = Literal["per_level", "top_k"]
RoutingAt: TypeAlias = Literal["product", "image"]

LEVELS: tuple[Level, ...] = ("patch", "component", "global")
"""Names of the levels, in the order of every axis of levels."""

_GROUP = re.compile(r"\d+(?:\+\d+)*")


class Group(Record):
    """Blocks that are looked at together; as text joined by a plus, for example ``4+7``."""

    blocks: Blocks = Field(min_length=1, description="ascending")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if isinstance(value, int):
            value = str(value)
        if not isinstance(value, str):
            return value
        if _GROUP.fullmatch(value.strip()) is None:
            raise ValueError(f"{value!r} is not a group of blocks, for example 4+7")
        return {"blocks": value.strip().split("+")}


class Config(Record):
    """Every option; unknown names are refused. Defaults are the paper's, or it is said."""

    groups: tuple[Group, ...] = Field(
        min_length=1,
        description="groups of blocks whose features are reconstructed: means within a group where "
        "blocks are equally wide, joined where they are not",
    )
    levels: tuple[Level, ...] = Field(
        default=LEVELS,
        min_length=1,
        description="levels that are asked; experts of others are never chosen, and such a level "
        "adds 0 to every score",
    )
    start: Literal["drawn", "fitted"] = Field(
        default="drawn",
        description="drawn: experts learn by gradient from drawn weights, as published; fitted: "
        "linear experts in closed form",
    )
    routing: Routing = Field(
        default="top_k",
        description="top_k: the best of all experts, as published; per_level: the best of each "
        "level, so that no level is left out",
    )
    top_k: int = Field(default=3, ge=1, description="experts chosen of all, with routing=top_k")
    routing_at: RoutingAt = Field(
        default="product",
        description="product: a product's mean descriptor chooses, once; image: every frame's does",
    )
    experts: int = Field(
        default=6,
        ge=1,
        description="experts of each level that a step learns; fitted ones are at least as many as "
        "the step has products and at most two more",
    )
    joint: bool = Field(
        default=False,
        description="as published: all products of a stream in one step, as an upper bound; "
        "none can be added later",
    )

    components: int = Field(default=5, ge=1, description="clusters of patches, K")
    geometry: bool = Field(
        default=True,
        description="judge area and centre of components beside their features; not published",
    )
    form: Literal["attention", "gaussian"] = Field(
        default="attention",
        description="of patch experts: decoders with linear attention, or one Gaussian of patches",
    )
    shrinkage: float = Field(
        default=0.01, gt=0, description="of the Gaussian: share of the mean variance added"
    )
    channels: int = Field(
        default=64, ge=1, description="fitted: principal channels in which the whole is judged"
    )
    rank: int = Field(default=32, ge=0, description="fitted: directions of the whole that are kept")
    component_rank: int = Field(
        default=4, ge=0, description="fitted: directions kept of what a component is like"
    )

    width: int = Field(default=768, ge=8, description="drawn: of tokens in patch experts")
    depth: int = Field(default=8, ge=1, description="drawn: blocks of a patch expert")
    heads: int = Field(default=12, ge=1, description="drawn: of linear attention")
    noise: float = Field(
        default=0.2, ge=0, lt=1, description="drawn: dropout of the noisy bottleneck"
    )
    global_form: Literal["single", "pair"] = Field(
        default="single",
        description="drawn: one autoencoder (Eq. 8), or as released one and a student of it",
    )
    steps: int = Field(
        default=50_000,
        ge=0,
        description="gradient updates of a step; of fitted experts those on top of the closed form",
    )
    batch: int = Field(default=16, ge=2, description="images per update")
    learning_rate: float = Field(default=5e-4, gt=0, description="of StableAdamW")
    weight_decay: float = Field(default=1e-4, ge=0, description="of StableAdamW")
    warm_up: int = Field(default=100, ge=0, description="updates until the rate is reached")
    clip: float = Field(default=0.1, gt=0, description="largest norm of a gradient")
    raw_losses: bool = Field(
        default=False,
        description="weigh losses as they are, as published; else each is divided by that of its "
        "level's constant predictor, and gates are a softmin of what remains",
    )
    hard_mining: float = Field(
        default=0.9, ge=0, lt=1, description="share of the easiest points that count a tenth"
    )
    balance: float = Field(default=0.01, ge=0, description="weight of the three ESB losses")
    independence: float = Field(default=1e-4, ge=0, description="weight of the EIR loss")

    share: float = Field(
        default=0.01, gt=0, le=1, description="of the cells, the highest, that judge a level"
    )
    smoothing: float = Field(
        default=4.0, ge=0, description="standard deviation of the map's Gaussian, in pixels"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        blocks = [block for group in self.groups for block in group.blocks]
        if blocks != sorted(set(blocks)):
            raise ValueError("groups must be ascending and no block may be in two of them")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels {','.join(self.levels)} name one twice")
        experts = len(self.levels) * self.experts
        if self.routing == "top_k" and self.top_k > experts:
            raise ValueError(
                f"top_k {self.top_k} is more than the {experts} experts there are of "
                f"{len(self.levels)} levels with {self.experts} each"
            )
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} do not divide width {self.width}")
        if self.start == "fitted" and self.form == "attention":
            raise ValueError("patch experts with attention are not fitted; give form=gaussian")
        if self.start == "drawn" and self.form == "gaussian":
            raise ValueError("a Gaussian is fitted and not drawn; give start=fitted")
        return self

    @property
    def blocks(self) -> tuple[int, ...]:
        """Every block that is looked at, ascending."""
        return tuple(block for group in self.groups for block in group.blocks)


def defaults_for(backbone: str) -> dict[str, Any]:
    """Values to start from: the paper's on transformers, fitted experts on the embedded trunk."""
    if backbone != "efficientnet-lite0":
        return {"groups": ("2+3+4+5", "6+7+8+9")}
    return {
        "groups": ("4+7", "10"),
        "start": "fitted",
        "form": "gaussian",
        "routing": "per_level",
        "experts": 1,
        "steps": 0,
        "width": 128,
        "depth": 2,
        "heads": 4,
        "learning_rate": 2e-3,
    }
