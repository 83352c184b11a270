"""Write a Stable Diffusion of drawn weights, in a process of its own that gives its memory back.

    python -m cad_edge_studies.cdad_full_size.pipeline FOLDER DIMENSIONS

leaves unet, vae, scorer, scheduler and the constant text in ``FOLDER``, for dimensions in JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cad_edge_training.backbones.stable_diffusion.context import FILE, NAME
from cad_edge_training.backbones.stable_diffusion.layout import SCHEDULE

SEED = 0
TOKENS = 77  # of the text
FULL: dict[str, dict[str, Any]] = {
    "unet": {
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "sample_size": 64,
    },
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "sample_size": 512,
    },
    "scorer": {"depths": (3, 4, 6, 3), "hidden_sizes": (256, 512, 1024, 2048)},
}
"""Dimensions of Stable Diffusion 1.5 and of a ResNet-50."""


def main(place: str, dimensions: str) -> None:
    """Draw and write."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import ResNetConfig, ResNetModel

    folder, wanted = Path(place), json.loads(dimensions)
    torch.manual_seed(SEED)
    AutoencoderKL(**wanted["vae"]).save_pretrained(folder / "vae")
    ResNetModel(ResNetConfig(**wanted["scorer"])).save_pretrained(folder / "scorer")
    UNet2DConditionModel(**wanted["unet"]).save_pretrained(folder / "unet")
    text = torch.randn(TOKENS, wanted["unet"]["cross_attention_dim"])
    save_file({NAME: text}, folder / FILE)
    DDIMScheduler(**SCHEDULE).save_pretrained(folder / "scheduler")


if __name__ == "__main__":
    main(*sys.argv[1:])
