"""What the frozen backbone makes of images and depth: one grid of tokens for each modality.

Features after the last block of the stages with strides 2, 4, 8 and 16 are brought to the grid of
the last and joined (METHODS 5.2; of EfficientNet-B4 272 channels on 14 x 14), by bilinear resizing
with aligned corners or as means over cells (docs/decisions/0024-few-updates.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cad_edge.errors import OptionError
from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.mobile_trunk import MobileTrunk
from cad_edge_training.gaussian import Resize
from cad_edge_training.learned import Images, Planes
from cad_edge_training.methods.ib_iumad.config import Config

STRIDE = 16
ROOM = 0.1  # of the values on either side of the range: dents and bumps lie beyond good parts
FILL = 15  # pixels of the window that gives what was not measured the mean of what was
TINY = 1e-6
_BATCH = 16  # frames at a time through the backbone


@dataclass(frozen=True)
class FrozenFeatures:
    """Some frames, as the frozen backbone sees them."""

    tokens: Mapping[str, Tensor]
    """(batch, n, channels) float32 by modality."""
    measured: Tensor | None
    """(batch, n) float32, which share of a cell's depth was measured; None without depth."""

    def rows(self, index: Tensor) -> "FrozenFeatures":
        """Take frames out of a batch."""
        tokens = {name: one[index] for name, one in self.tokens.items()}
        return FrozenFeatures(tokens, None if self.measured is None else self.measured[index])


def stage_ends(backbone: Backbone) -> tuple[int, ...]:
    """Blocks whose features are joined.

    Raises
    ------
    OptionError
        The backbone has no such stages, or its input is not square in whole cells.
    """
    if not isinstance(backbone, MobileTrunk):
        raise OptionError(
            f"ib_iumad looks at the stages of an EfficientNet, which {backbone.identity.id} does "
            "not have; give --backbone efficientnet-lite0 or efficientnet:ID"
        )
    recipe = backbone.recipe
    if recipe.height != recipe.width or recipe.height % STRIDE:
        raise OptionError(
            f"ib_iumad cuts images into cells of {STRIDE} px, which {recipe.width}x{recipe.height} "
            f"px do not hold; give --size a multiple of {STRIDE}"
        )
    return backbone.stage_ends


def last_block(backbone: Backbone, config: Config) -> int:
    """Deepest block whose features are used; errors are those of `stage_ends`."""
    return stage_ends(backbone)[-1]


def depth_as_image(depth: Tensor, depth_range: Tensor) -> tuple[Tensor, Tensor]:
    """Turn depth into what an image holds, where nothing was measured by what lies around.

    Parameters
    ----------
    depth
        (batch, height, width) float32 in the sensor's units, 0 for no measurement.
    depth_range
        (2,) float32, `cad_edge.data.depth.DepthRange` of the product.

    Returns
    -------
    values, measured
        (batch, height, width) float32 each: values in 0..255, a tenth of which lies on either side
        of the range; 1 where there was a measurement, 0 elsewhere.
    """
    measured = (depth > 0).to(depth.dtype)
    low, high = depth_range[0], depth_range[1]
    scaled = (ROOM + (1 - 2 * ROOM) * (depth - low) / (high - low)).clamp(0, 1) * measured
    everywhere = scaled.sum(dim=(1, 2), keepdim=True) / (
        measured.sum(dim=(1, 2), keepdim=True) + TINY
    )
    around, known = (
        functional.avg_pool2d(one[:, None], FILL, 1, FILL // 2)[:, 0] for one in (scaled, measured)
    )
    nearby = (around + TINY * everywhere) / (known + TINY)
    filled = scaled + (1 - measured) * nearby
    return 255 * filled, measured


def share_measured(measured: Tensor) -> Tensor:
    """Share of each cell that was measured, (batch, n), of (batch, height, width)."""
    return functional.avg_pool2d(measured[:, None], STRIDE).flatten(1)


def tokens_of(backbone: Backbone, image: Tensor, resize: Resize) -> Tensor:
    """Tokens (batch, n, channels) float32 of images (batch, height, width, 3), values 0..255."""
    ends = stage_ends(backbone)
    states = backbone.run(backbone.normalise(image), ends[-1])
    maps = [backbone.feature_map(states[block]) for block in ends]
    grids = [_to_grid(one, maps[-1].shape[-1], resize) for one in maps]
    return torch.cat(grids, dim=1).flatten(2).transpose(1, 2)


def _to_grid(features: Tensor, cells: int, resize: Resize) -> Tensor:
    if resize == "area":
        return functional.avg_pool2d(features, features.shape[-1] // cells)
    return functional.interpolate(features, (cells, cells), mode="bilinear", align_corners=True)


def look(
    backbone: Backbone,
    config: Config,
    image: Tensor,
    depth: Tensor | None,
    depth_range: Tensor | None,
) -> FrozenFeatures:
    """See frames.

    Parameters
    ----------
    backbone
        Frozen.
    config
        Says what is looked at, and how stages come to one grid.
    image
        (batch, height, width, 3) uint8 RGB at the backbone's recipe.
    depth, depth_range
        As `depth_as_image`; None where depth is not looked at.
    """
    tokens, measured = {}, None
    if "rgb" in config.modalities:
        tokens["rgb"] = tokens_of(backbone, image, config.resize)
    if "depth" in config.modalities:
        assert depth is not None and depth_range is not None
        values, known = depth_as_image(depth, depth_range)
        colour = values[..., None].expand(-1, -1, -1, 3)
        tokens["depth"] = tokens_of(backbone, colour, config.resize)
        measured = share_measured(known)
    return FrozenFeatures(tokens, measured)


def look_at_all(
    backbone: Backbone,
    config: Config,
    images: Images,
    depth: Planes | None,
    depth_range: Tensor | None,
) -> FrozenFeatures:
    """See any number of frames, at least one, some at a time; parameters are those of `look`."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            rows = slice(start, start + _BATCH)
            planes = None if depth is None else torch.from_numpy(depth[rows])
            shown = torch.from_numpy(images[rows])
            parts.append(look(backbone, config, shown, planes, depth_range))
    return joined(parts)


def joined(parts: Sequence[FrozenFeatures]) -> FrozenFeatures:
    """Put batches together, in copies that can be learned from whatever made the parts."""
    tokens = {
        name: torch.cat([part.tokens[name] for part in parts]).clone() for name in parts[0].tokens
    }
    measured = [part.measured for part in parts if part.measured is not None]
    return FrozenFeatures(tokens, torch.cat(measured).clone() if measured else None)
