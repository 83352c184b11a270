"""Tokens of images: what the frozen tower says of them, run once where memory allows."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.learned import Images, Progress, views_in
from cad_edge_training.methods.cl_anomaly.anchors import AnchorSum
from cad_edge_training.methods.cl_anomaly.session import ProcessShare

BATCH = 8  # images per pass through the tower, views counted one by one
CACHE_BYTES = 2 * 2**30  # up to this much is kept


@torch.no_grad()
def raw_tokens(base: LlavaBase, images: Images) -> Tensor:
    """Tower tokens (n, [views,] n_tokens, vision_width) float32 of images, on the base's device."""
    shown = torch.from_numpy(np.ascontiguousarray(images)).to(base.image_newline.device)
    return base.look(shown)


def samples_at_once(views: int) -> int:
    """Return how many samples go through the tower in one pass."""
    return max(1, BATCH // views)


class ImageTokens:
    """Rows of images in the language model, by the number of an image.

    What is kept is projected already, unless the projector changes. Images are run in the same
    groups whether an earlier learning was interrupted or not, so that every bit is the same.
    """

    def __init__(self, base: LlavaBase, images: Images, projector_changes: bool) -> None:
        self.base, self.images = base, images
        self._project: Callable[[Tensor], Tensor] = base.image_tokens
        self._changes = projector_changes
        self._kept: Tensor | None = None

    @property
    def views(self) -> int:
        """Images of a sample."""
        return views_in(self.images)

    @torch.no_grad()
    def measure(self, share: ProcessShare, progress: Progress) -> AnchorSum:
        """Run the images once: keep what fits, and sum up this process's share for the anchor."""
        found, kept = AnchorSum.empty(self.base.vision_width), []
        keeping = self._bytes() <= CACHE_BYTES
        for number, (start, group) in enumerate(self._groups()):
            mine = number % share.of == share.number
            if mine or keeping:
                raw = raw_tokens(self.base, group)
                found = found.add(raw) if mine else found
                if keeping:
                    kept.append((raw if self._changes else self._project(raw)).cpu())
            progress("tower tokens", start + len(group), len(self.images))
        self._kept = torch.cat(kept) if keeping else None
        return found

    def at(self, indices: Tensor) -> Tensor:
        """Rows (batch, views * (n_tokens + 1), width) of the samples ``indices`` (batch,) int64."""
        if self._kept is not None:
            rows = self._kept[indices].to(self.base.image_newline.device)
            return self._project(rows) if self._changes else rows
        return self._project(raw_tokens(self.base, self.images[indices.numpy()]))

    def _groups(self) -> Iterator[tuple[int, Images]]:
        count = samples_at_once(self.views)
        for start in range(0, len(self.images), count):
            yield start, self.images[start : start + count]

    def _bytes(self) -> int:
        rows = self.base.n_patches * (self.base.vision_width if self._changes else self.base.width)
        return len(self.images) * self.views * rows * torch.finfo(torch.float32).bits // 8
