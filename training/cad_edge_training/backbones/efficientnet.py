"""EfficientNet (Tan & Le, ICML 2019) as transformers stores it, B0 to B7.

Two things differ from transformers' own forward pass. A convolution of stride 2 is padded for the
size that it meets, as TensorFlow does and as the network was trained; transformers pads for the
size of its configuration, which is another one after the first odd grid (B4 has 380 px, and a
grid of 95 before block 6). And pixels are normalised here, in one product and one sum.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.errors import OptionError
from cad_edge.store.artifact import BackboneIdentity
from cad_edge_training.backbones.backbone import weights_sha256
from cad_edge_training.backbones.dinov2 import DEVIATION, MEAN
from cad_edge_training.backbones.mobile_trunk import (
    Activation,
    BlockShape,
    MobileBlock,
    MobileTrunk,
)
from cad_edge_training.backbones.pretrained import find_part, load_pretrained

DEFAULT_SIZE = 224  # pixels; B4 was trained at 380, which costs three times as much
KIND = "efficientnet"
SETTINGS = ("preprocessor_config.json", "processor_config.json")
IMAGENET: Mapping[str, Any] = {"image_mean": MEAN, "image_std": DEVIATION, "include_top": False}
PARTS = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_se_reduce": "squeeze_excite.reduce",
    "_se_expand": "squeeze_excite.expand",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}
"""Parts of a block here, and of a block of transformers."""


class GatedBlock(MobileBlock):
    """A mobile block with squeeze-and-excite (Hu, Shen and Sun, CVPR 2018)."""

    def __init__(self, shape: BlockShape, activation: Activation, squeezed: int) -> None:
        super().__init__(shape, activation)
        self._se_reduce = nn.Conv2d(shape.width, squeezed, 1)
        self._se_expand = nn.Conv2d(squeezed, shape.width, 1)

    def gate(self, inner: Tensor) -> Tensor:
        """Weigh the channels of (batch, width, height', width') by what all of them hold."""
        squeezed = self.activation(self._se_reduce(inner.mean(dim=(2, 3), keepdim=True)))
        out: Tensor = inner * torch.sigmoid(self._se_expand(squeezed))
        return out


class EfficientNet(MobileTrunk):
    """Stem and blocks of an EfficientNetModel; of B4 32, whose stages end at 1, 5, 9 and 21."""

    pixel_scale: Tensor
    pixel_offset: Tensor

    def __init__(self, model: nn.Module, size: int = DEFAULT_SIZE) -> None:
        """Copy the weights of ``model``, transformers' EfficientNetModel, for images of ``size``.

        Raises
        ------
        OptionError
            It does not look at three channels, or lacks a stage.
        """
        convolution: Any = model.get_submodule("embeddings.convolution")
        if convolution.in_channels != 3:
            raise OptionError(
                f"the network looks at {convolution.in_channels} channels; take one for RGB images"
            )
        # Not the module itself, which would count among the parts of the trunk and of every block.
        activation = model.get_submodule("embeddings.activation").forward
        layers = list(model.get_submodule("encoder.blocks").children())
        blocks = [_block(layer, activation) for layer in layers]
        super().__init__(convolution.out_channels, blocks, activation, size)
        _copy(convolution, self._conv_stem)
        _copy(model.get_submodule("embeddings.batchnorm"), self._bn0)
        self.set_normalisation(None)

    def set_normalisation(self, settings: Mapping[str, Any] | None) -> None:
        """Set what transformers' image processor does to pixels after resizing.

        Its ``include_top`` divides by ``image_std`` a second time. The published files need that:
        their ``image_std`` are square roots of ImageNet's deviations.

        Parameters
        ----------
        settings
            Of ``preprocessor_config.json``; if None, ImageNet's mean and deviation.

        Raises
        ------
        ValueError
            A value is not a number, not three of them, not finite, or a deviation of 0.
        """
        scale, offset = _affine(IMAGENET if settings is None else settings)
        self.register_buffer("pixel_scale", scale)
        self.register_buffer("pixel_offset", offset)

    def normalise(self, image: Tensor) -> Tensor:
        """Map uint8 RGB to what the image processor makes of it."""
        pixels = image.to(torch.float32).permute(0, 3, 1, 2)
        return pixels * self.pixel_scale + self.pixel_offset


def _block(layer: nn.Module, activation: Activation) -> GatedBlock:
    """Copy a block of transformers, whose residual it calls by the dropout before it."""
    parts: dict[str, Any] = dict(layer.named_modules())
    depthwise, reduce = parts[PARTS["_depthwise_conv"]], parts[PARTS["_se_reduce"]]
    expand = parts.get(PARTS["_expand_conv"])
    channels = depthwise.in_channels if expand is None else expand.in_channels
    shape = BlockShape(
        channels=channels,
        out=parts[PARTS["_project_conv"]].out_channels,
        expand=depthwise.in_channels // channels,
        kernel=depthwise.kernel_size[0],
        stride=depthwise.stride[0],
        residual=parts["projection"].apply_dropout,
    )
    block = GatedBlock(shape, activation, reduce.out_channels)
    for own, part in block.named_children():
        _copy(parts[PARTS[own]], part)
    return block


def _copy(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict(source.state_dict())
    if isinstance(target, nn.BatchNorm2d) and isinstance(source, nn.BatchNorm2d):
        target.eps = source.eps


def _affine(settings: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Scale and offset (1, 3, 1, 1) float32 of pixels 0..255.

    What a file leaves out has the value that transformers gives it.
    """
    theirs = str(settings.get("image_processor_type", "EfficientNet")).startswith("EfficientNet")
    deviation = _three(settings.get("image_std", 0.5))
    scale, offset = np.ones(3), np.zeros(3)
    if settings.get("do_rescale", True):
        scale = scale * float(settings.get("rescale_factor", 1 / 255))
        offset = offset - (1.0 if settings.get("rescale_offset", False) else 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if settings.get("do_normalize", True):
            offset = offset - _three(settings.get("image_mean", 0.5))
            scale, offset = scale / deviation, offset / deviation
        if settings.get("include_top", theirs):
            scale, offset = scale / deviation, offset / deviation
    if not np.isfinite([scale, offset]).all():
        raise ValueError("a deviation is 0, or a value is not finite")
    return _per_channel(scale), _per_channel(offset)


def _three(value: object) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """One number per channel, (3,) float64, of one or of three."""
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (3,))


def _per_channel(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).reshape(1, 3, 1, 1)


def load_efficientnet(source: str, size: int | None = None) -> EfficientNet:
    """Load a frozen EfficientNet.

    Parameters
    ----------
    source
        Hub id (``google/efficientnet-b4``, ...) or a local folder that transformers can read. Its
        ``preprocessor_config.json`` says how pixels are normalised; without it they are as in
        ImageNet.
    size
        Input side in pixels; 224 if None.

    Raises
    ------
    OptionError
        Nothing is found at ``source``, it is no EfficientNet, or its settings for images cannot be
        used.
    """
    found = load_pretrained(source, (KIND,))
    backbone = EfficientNet(found.model, size or DEFAULT_SIZE)
    try:
        backbone.set_normalisation(_settings(source))
    except (TypeError, ValueError):
        raise OptionError(
            f"{source} normalises images by numbers that are none, or by a deviation of 0; get "
            f"its {SETTINGS[0]} again"
        ) from None
    backbone.identity = BackboneIdentity(
        id=f"{KIND}:{found.name}", sha256=weights_sha256(backbone.state_dict())
    )
    backbone.freeze()
    return backbone


def _settings(source: str) -> Mapping[str, Any] | None:
    """Read settings of the image processor beside the weights; None where there are none."""
    try:
        settings: Mapping[str, Any] = find_part(_ImageSettings(), source)
    except OptionError:
        if any((Path(source) / name).is_file() for name in SETTINGS):
            raise
        return None
    return settings


class _ImageSettings:
    """The image processor's file alone: building one may ask for torchvision."""

    def from_pretrained(self, source: str, local_files_only: bool) -> Mapping[str, Any]:
        from transformers.image_processing_base import ImageProcessingMixin

        settings: Mapping[str, Any] = ImageProcessingMixin.get_image_processor_dict(
            source, local_files_only=local_files_only
        )[0]
        return settings
