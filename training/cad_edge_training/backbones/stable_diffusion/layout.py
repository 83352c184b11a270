"""What a folder of Stable Diffusion 1.5 must hold, read before any weights are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cad_edge.errors import OptionError

PARTS = ("unet", "vae", "scorer")
"""Folders that hold weights; ``scheduler`` holds none."""
SCHEDULE = {
    "prediction_type": "epsilon",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}
UNET = {
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "act_fn": "silu",
    "time_embedding_type": "positional",
    "resnet_time_scale_shift": "default",
    "class_embed_type": None,
    "num_class_embeds": None,
    "addition_embed_type": None,
    "encoder_hid_dim": None,
    "time_cond_proj_dim": None,
    "only_cross_attention": False,
    "dual_cross_attention": False,
    "center_input_sample": False,
    "upcast_attention": False,
    "attention_type": "default",
    "resnet_skip_time_act": False,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
}
VAE = {
    "act_fn": "silu",
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
    "shift_factor": None,
}
"""What configurations of Stable Diffusion 1.5 have, and this project's graphs know."""
DOWN = ("CrossAttnDownBlock2D", "DownBlock2D")
UP = ("CrossAttnUpBlock2D", "UpBlock2D")
LEVELS = 4  # of the autoencoder, whose grid is halved between them


def require_parts(folder: Path) -> None:
    """Raise OptionError where a part is missing, or has no weights but pickled ones."""
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder; give sd: the folder of a Stable Diffusion 1.5")
    files = {"scheduler": "scheduler_config.json"} | dict.fromkeys(PARTS, "config.json")
    for part, file in files.items():
        if not (folder / part / file).is_file():
            raise OptionError(
                f"{folder} has no {part}/{file}; give a Stable Diffusion 1.5 in the layout of "
                "diffusers, with a ResNet-50 of transformers in scorer"
            )
    for part in PARTS:
        if not any((folder / part).glob("*.safetensors")):
            raise OptionError(
                f"{folder / part} has no weights as safetensors, and pickled ones are not read; "
                "save it with safe_serialization=True"
            )


def require_schedule(folder: Path) -> None:
    """Raise OptionError where a network was taught another prediction or another noise."""
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise OptionError(f"{path} is no JSON; get the folder again") from None
    config = {"prediction_type": "epsilon"} | config  # older files do not name it
    _require(folder / "scheduler", config, SCHEDULE)


def require_unet(folder: Path, config: Mapping[str, Any], channels: int) -> None:
    """Raise OptionError where a U-Net is not of Stable Diffusion 1.5's kind, or of other latents.

    Parameters
    ----------
    channels
        Of the autoencoder's latents.
    """
    place = folder / "unet"
    for name in ("in_channels", "out_channels"):
        if config.get(name, 4) != channels:
            raise OptionError(
                f"{place} has {name}={config.get(name, 4)} where the autoencoder's latents have "
                f"{channels}; give the U-Net that belongs to it, not one for filling in pictures"
            )
    _require(place, config, UNET)
    for name, known in (("down_block_types", DOWN), ("up_block_types", UP)):
        if other := [one for one in config[name] if one not in known]:
            raise OptionError(f"{place} has a {other[0]}; give a U-Net of Stable Diffusion 1.5")


def require_autoencoder(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise OptionError where an autoencoder is not of Stable Diffusion 1.5's kind."""
    place = folder / "vae"
    _require(place, config, VAE)
    if len(config["block_out_channels"]) != LEVELS or config.get("latent_channels", 4) < 1:
        raise OptionError(
            f"{place} halves images {len(config['block_out_channels']) - 1} times and not "
            f"{LEVELS - 1}; give the autoencoder of Stable Diffusion 1.5"
        )


def _require(place: Path, config: Mapping[str, Any], wanted: Mapping[str, object]) -> None:
    for name, value in wanted.items():
        if name in config and config[name] != value:
            raise OptionError(
                f"{place} has {name}={config[name]}, and Stable Diffusion 1.5 has {value}; give "
                "one of its kind"
            )
