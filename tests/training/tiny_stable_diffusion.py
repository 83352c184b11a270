"""Stable Diffusion of all its classes and none of its weights, small, saved as diffusers does."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SIDE = 64  # pixels
WIDTH, TOKENS, TEXT = 32, 7, 16
"""Channels of the U-Net at the latents' grid of 8 x 8; the text, and the width of its tokens."""

UNET = {
    "sample_size": SIDE // 8,
    "block_out_channels": (WIDTH, 48),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": TEXT,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}
VAE = {
    "block_out_channels": (8, 8, 16, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 4,
    "sample_size": SIDE,
}
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
}


def save_stable_diffusion(folder: Path, seed: int = 1) -> Path:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import ResNetConfig, ResNetModel

    scorer = ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 16, 24, 24], depths=[1, 1, 1, 1], layer_type="basic"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        models = {
            "unet": UNet2DConditionModel(**UNET),
            "vae": AutoencoderKL(**VAE),
            "scorer": _used(ResNetModel(scorer)),
        }
        for name, model in models.items():
            model.eval().save_pretrained(folder / name)
        context = torch.randn(TOKENS, TEXT)
    DDIMScheduler(**SCHEDULE).save_pretrained(folder / "scheduler")
    save_file({"context": context}, folder / "empty_text.safetensors")
    return folder


def _used(model: torch.nn.Module) -> torch.nn.Module:
    """Give norms statistics, so that folding them changes something."""
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return model


def change_config(folder: Path, file: str, **changed: object) -> None:
    """Write other values into a configuration."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
