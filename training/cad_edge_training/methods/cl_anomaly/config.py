"""Options of CL-Anomaly; which values a base model starts from is in `defaults_for`."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from cad_edge.schema import Record
from cad_edge_training.methods.cl_anomaly.anchors import Routing

QUESTION = (
    "Are there any defects for the object in the image? "
    "Please reply with only one word 'Yes' or 'No'."
)

QUESTION_OF_VIEWS = (
    "Are there any defects for the object in the multiview images? Answer only 'Yes' or 'No'."
)


@dataclass(frozen=True)
class Composition:
    """What a variant adds to every linear."""

    private: float
    """Weight of the private path; 0 where there is none."""
    shared: float
    """Weight of the shared path; 0 where there is none."""
    experts: int
    """Shared experts; 0 where there is no shared path."""
    rank: int
    """Of a shared expert."""
    merged: bool
    """Whether shared experts are merged with those of the task before."""


class Config(Record):
    """Every option; unknown names are refused."""

    variant: Literal["cl_anomaly", "sequential", "moe"] = Field(
        default="cl_anomaly",
        description="cl_anomaly; or, to compare, sequential: one LoRA that every task learns on, "
        "moe: shared experts under a router and nothing else",
    )
    rank: int = Field(default=3, ge=1, description="r, rank of an expert")
    scale: float = Field(default=2.0, gt=0, description="s, what an expert's answer is times")
    shared_experts: int = Field(default=4, ge=1, description="n, shared experts")
    private_weight: float = Field(
        default=0.5, gt=0, lt=1, description="lambda, share of the private path"
    )
    key_experts: int = Field(default=1, ge=1, description="K, key experts of a layer and task")
    budget: int = Field(
        default=12,
        ge=1,
        description="experts' worth of parameters of sequential and moe: what cl_anomaly has "
        "after budget - shared_experts tasks",
    )
    private_path: bool = Field(default=True, description="learn an expert for every task")
    shared_path: bool = Field(default=True, description="learn shared experts")
    layer_adaptive: bool = Field(
        default=True, description="merge shared experts by their keys; else the last task's stay"
    )

    routing: Routing = Field(
        default="soft",
        description="weights of private experts by anchors: soft, or hard for the nearest alone; "
        "selector: that of the product which the selector recognised",
    )
    tau: float = Field(default=0.1, gt=0, description="temperature of soft routing")
    question: str = Field(default=QUESTION, min_length=1, description="what is asked of an image")
    paraphrases: bool = Field(
        default=False, description="learn with the question in other words too, drawn by the seed"
    )

    epochs: int = Field(default=1, ge=1, description="passes over the images")
    batch: int = Field(default=8, ge=1, description="images per step, all processes together")
    balanced: bool = Field(
        default=False, description="as many good as defective images in a batch, by repetition"
    )
    learning_rate: float = Field(default=1e-5, gt=0, description="highest rate of AdamW")
    shared_rate: float = Field(
        default=1.0,
        gt=0,
        description="times learning_rate, what the shared path learns at beside a private one",
    )
    warm_up: float = Field(
        default=0.03, ge=0, lt=1, description="share of the steps that the rate rises in"
    )
    dropout: float = Field(default=0.05, ge=0, lt=1, description="of what experts are given")
    train_projector: bool = Field(
        default=False, description="learn the projector too, as the released code does"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the frozen language model while learning"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute twice what would not fit into memory"
    )
    # The rest says how and where to learn and not what, so that it may differ between tasks with
    # shared weights; it is not written into an artifact, and no folder's name leaves the machine.
    micro_batch: int = Field(
        default=8,
        ge=1,
        exclude=True,
        description="images that a process computes at once; less needs less memory",
    )
    checkpoint_steps: int = Field(
        default=50,
        ge=1,
        exclude=True,
        description="steps after which an interrupted learning can go on",
    )
    adapter: str = Field(
        default="", exclude=True, description="folder of a PEFT adapter that the task starts from"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        if not (self.private_path or self.shared_path):
            raise ValueError("nothing would be learned; leave private_path or shared_path on")
        if self.key_experts > self.shared_experts:
            raise ValueError(
                f"key_experts={self.key_experts} is more than the {self.shared_experts} "
                "shared_experts; lower it"
            )
        plain = self.private_path and self.shared_path and self.layer_adaptive
        if self.variant != "cl_anomaly" and not plain:
            raise ValueError(
                f"variant={self.variant} has no paths to switch off; leave private_path, "
                "shared_path and layer_adaptive on"
            )
        if self.adapter and not self.composition.private:
            raise ValueError("an adapter becomes a private expert, and there is none; leave it out")
        return self

    @property
    def composition(self) -> Composition:
        """What the variant is made of; a path on its own has the whole weight."""
        if self.variant == "sequential":
            return Composition(0.0, 1.0, 1, self.rank * self.budget, merged=False)
        if self.variant == "moe":
            return Composition(0.0, 1.0, self.budget, self.rank, merged=False)
        private = 0.0 if not self.private_path else self.private_weight if self.shared_path else 1.0
        if not self.shared_path:
            return Composition(private, 0.0, 0, self.rank, merged=False)
        merged = self.layer_adaptive
        return Composition(private, 1.0 - private, self.shared_experts, self.rank, merged)


def defaults_for(backbone: str) -> dict[str, Any]:
    """Values to start from for a backbone.

    A pretrained model starts from the paper's. The small one needs more steps at a higher rate;
    README.md has the figures.
    """
    if backbone == "llava-small":
        return {
            "epochs": 5,
            "learning_rate": 2e-3,
            "shared_rate": 0.1,
            "balanced": True,
            "dropout": 0.0,
        }
    return {"precision": "bfloat16", "gradient_checkpointing": True}


def defaults_for_views() -> dict[str, Any]:
    """Values to start from where each sample has several views; methods without it have one."""
    return {"question": QUESTION_OF_VIEWS}
