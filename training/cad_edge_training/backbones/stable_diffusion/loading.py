"""Reading Stable Diffusion 1.5 from a folder in the layout of diffusers; no pickle is read."""

from pathlib import Path
from typing import Any

from torch import nn

from cad_edge.errors import OptionError
from cad_edge.store.artifact import BackboneIdentity
from cad_edge_training.backbones.backbone import weights_sha256
from cad_edge_training.backbones.pretrained import find_part, load_pretrained
from cad_edge_training.backbones.stable_diffusion.autoencoder import decoder, encoder_blocks
from cad_edge_training.backbones.stable_diffusion.base import CELL, StableDiffusion
from cad_edge_training.backbones.stable_diffusion.context import EmptyText
from cad_edge_training.backbones.stable_diffusion.layout import (
    require_autoencoder,
    require_parts,
    require_schedule,
    require_unet,
)
from cad_edge_training.backbones.stable_diffusion.scorer import STRIDES, Scorer
from cad_edge_training.backbones.stable_diffusion.stored_weights import StoredWeights

DEFAULT_SIZE = 256  # pixels


def load_stable_diffusion(source: str, size: int | None = None) -> StableDiffusion:
    """Load autoencoder and scorer; the U-Net's weights stay in the folder until they are asked for.

    Parameters
    ----------
    source
        Folder with unet, vae, scheduler and scorer; and either `context.FILE`, or tokenizer and
        text_encoder.
    size
        Side of images in pixels; 256 if None.

    Raises
    ------
    OptionError
        A part is missing, its weights are pickled, or it is not one of Stable Diffusion 1.5; the
        size does not fit.
    """
    folder = Path(source)
    require_parts(folder)
    require_schedule(folder)
    try:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    except ImportError:
        raise OptionError(
            f"{folder.name} needs diffusers; install it with `pip install diffusers` "
            "(extra `train`)"
        ) from None
    unet_config = dict(UNet2DConditionModel.load_config(folder / "unet"))
    vae_config = dict(AutoencoderKL.load_config(folder / "vae"))
    require_autoencoder(folder, vae_config)
    require_unet(folder, unet_config, vae_config.get("latent_channels", 4))
    side = _fitting(folder, size or DEFAULT_SIZE, len(unet_config["block_out_channels"]))
    vae, scorer = _whole(AutoencoderKL, folder / "vae"), _scorer(folder / "scorer")
    parts: dict[str, Any] = {"vae": vae.state_dict(), "scorer": scorer.state_dict()}
    parts["unet"] = StoredWeights(folder / "unet")
    digest = weights_sha256(StoredWeights.joined(parts))
    stem, blocks = encoder_blocks(vae)
    identity = BackboneIdentity(id=f"sd:{folder.resolve().name}", sha256=digest)
    found = StableDiffusion(stem, blocks, decoder(vae), Scorer(scorer), side, identity)
    found.unet_config = unet_config
    found.load_unet = _Unet(UNet2DConditionModel, folder / "unet")
    found.load_context = EmptyText(folder, unet_config["cross_attention_dim"])
    return found


def _fitting(folder: Path, size: int, levels: int) -> int:
    """Return the size; OptionError where a grid of the U-Net would not be whole."""
    multiple = CELL * 2 ** (levels - 1)
    if size % multiple:
        raise OptionError(
            f"size {size} does not fit {folder.name}, whose network halves images {levels + 2} "
            f"times; give --size a multiple of {multiple}"
        )
    return size


class _Unet:
    """Reads a U-Net when called."""

    def __init__(self, kind: Any, folder: Path) -> None:  # noqa: ANN401 - diffusers is untyped
        self._kind, self._folder = kind, folder

    def __call__(self) -> nn.Module:
        model: nn.Module = _whole(self._kind, self._folder)
        return model


def _whole(kind: Any, folder: Path) -> Any:  # noqa: ANN401 - diffusers is untyped
    """Read a model of diffusers in float32; OptionError where it lacks weights."""
    model, report = find_part(_SafeWithReport(kind), str(folder))
    if report["missing_keys"]:
        raise OptionError(f"{folder} lacks the weights {min(report['missing_keys'])}; get it again")
    return model.float().eval()


class _SafeWithReport:
    """A model whose weights are safetensors, and which ones a folder lacked."""

    def __init__(self, kind: Any) -> None:  # noqa: ANN401 - diffusers is untyped
        self._kind = kind

    def from_pretrained(self, source: str, local_files_only: bool) -> Any:  # noqa: ANN401
        return self._kind.from_pretrained(
            source,
            local_files_only=local_files_only,
            use_safetensors=True,
            output_loading_info=True,
            low_cpu_mem_usage=False,
        )


def _scorer(folder: Path) -> nn.Module:
    found = load_pretrained(str(folder), ("resnet",))
    config = found.config
    few = len(config.depths) < len(STRIDES)
    if few or config.downsample_in_first_stage or config.num_channels != 3:
        raise OptionError(
            f"{folder} is no network whose first stages see pictures at strides 4, 8 and 16; give "
            "a ResNet-50 as transformers saves it"
        )
    return found.model
