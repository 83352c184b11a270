"""Options of CMPMB; what a backbone cannot carry of it is said by `unsupported_parts`."""

from typing import Any, Literal, TypeAlias

from pydantic import Field

from cad_edge.schema import Record
from cad_edge_training.blocks import Blocks

Normalisation: TypeAlias = Literal["sigmoid", "none"]
TextLoss: TypeAlias = Literal["squared_error", "cross_entropy"]


class Config(Record):
    """Every option; unknown names are refused. The defaults are the published method."""

    blocks: Blocks = Field(
        default=(5,), min_length=1, description="blocks whose feature maps are concatenated"
    )
    bank_size: int = Field(default=196, ge=1, description="patches that the memory bank keeps")
    normalisation: Normalisation = Field(
        default="sigmoid", description="of both branches: sigmoid (ANM), or none"
    )
    slope: float = Field(default=1.5, gt=0, description="k of the sigmoid (ANM)")
    smoothing: float = Field(
        default=4.0, ge=0, description="standard deviation of the map's Gaussian, in pixels"
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
    text_loss: TextLoss = Field(
        default="squared_error",
        description="of the text prompt: Eq. 7, or the cross-entropy of the same answers",
    )
    text_vectors: int = Field(default=5, ge=1, description="learned vectors of the text prompt")
    text_epochs: int = Field(default=50, ge=1, description="of text prompt learning")
    text_learning_rate: float = Field(default=5e-5, gt=0, description="of the text prompt, Adam")
    visual_weight: float = Field(default=0.9, ge=0, le=1, description="alpha of DFS")

    @property
    def last_block(self) -> int:
        """Deepest block that has to run."""
        return self.blocks[-1]


def defaults_for(backbone: str) -> dict[str, Any]:
    """Values to start from for a backbone: the published ones, as far as it can carry them."""
    return {} if backbone.startswith("clip:") else {"text": False}


def unsupported_parts(backbone: str, config: Config) -> str | None:
    """Say which published parts a backbone cannot carry, or superpixels stand in for."""
    if backbone.startswith("clip:"):
        if config.prompts and config.regions == "slic":
            return (
                "cmpmb: superpixels stand in for SAM's regions; --set regions=sam:FOLDER, with a "
                "hub id or folder of SAM, has the published ones"
            )
        return None
    return (
        f"cmpmb on {backbone}: without the text branch and DFS, since it has no text tower; "
        "--backbone clip:ID has all of the paper"
    )
