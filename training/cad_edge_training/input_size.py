"""The input size of a product, chosen by the detail that its good parts lose on the way there.

A defect is seen at a size if what it is made of still is. Real defects are not to be had when a
product is learned, and synthetic ones do not rank sizes as real ones do; but the fine detail of
good parts is there to be measured (docs/decisions/0026-input-size.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Literal, TypeAlias

import numpy as np
import torch
from PIL import Image

from cad_edge.data.image import Frame, ImageRecipe, decode_image
from cad_edge.data.stream import StreamTask
from cad_edge.errors import ImageError, OptionError
from cad_edge.schema import Record
from cad_edge_training.backbones import Backbone
from cad_edge_training.method import KnowsLastBlock, UpdatesEarlierTasks
from cad_edge_training.methods import load_method

AUTO: Literal["auto"] = "auto"
Size: TypeAlias = int | Literal["auto"] | None
"""Input side in pixels, ``auto`` for that of each product, None for the backbone's own."""

DETAIL_LOSS = 8.0  # grey levels of 255; a size that loses more is too small for the product
LOOKED_AT = 16  # good parts of each product, evenly spread
LARGER = 9 / 7  # the other candidate, in units of the default: 288 px for 224 px
MULTIPLE = 32  # pixels; what a convolutional trunk divides without a remainder
TIMED = 7  # runs of the trunk that count, after one that does not

_LUMINANCE = np.array((0.299, 0.587, 0.114))  # of red, green and blue, ITU-R BT.601


def detail_loss(frame: Frame, size: int) -> float:
    """Root mean square of what is lost between a frame and its image at ``size``, brought back.

    Parameters
    ----------
    frame
        (h, w, 3) uint8 RGB, as it was decoded.
    size
        Input side in pixels. An axis of the frame that is no longer than that is left alone, since
        nothing of it is lost.

    Returns
    -------
    float
        In grey levels (0 to 255) of luminance.
    """
    height, width = frame.shape[:2]
    seen = ImageRecipe(width=min(size, width), height=min(size, height)).apply(frame)
    if seen is frame:
        return 0.0
    back = Image.fromarray(seen).resize((width, height), resample=Image.Resampling.BICUBIC)
    lost = (frame.astype(np.float32) - np.asarray(back, dtype=np.float32)) @ _LUMINANCE
    return float(np.sqrt(np.mean(lost * lost, dtype=np.float64)))


def median_losses(paths: Sequence[Path], sizes: Sequence[int]) -> dict[int, float]:
    """Median `detail_loss` at every size, in grey levels, over images that lie evenly spread.

    Parameters
    ----------
    paths
        At least one image of a good part; at most 16 are looked at.
    sizes
        Input sides in pixels.

    Raises
    ------
    ImageError
        An image cannot be read.
    """
    places = np.unique(np.linspace(0, len(paths) - 1, min(LOOKED_AT, len(paths))).astype(int))
    lost: dict[int, list[float]] = {size: [] for size in sizes}
    for place in places:
        frame = decode_image(paths[place])
        for size in sizes:
            lost[size].append(detail_loss(frame, size))
    return {size: median(values) for size, values in lost.items()}


def choose_size(losses: Mapping[int, float]) -> int:
    """Smallest size that loses at most `DETAIL_LOSS`, the largest where none does.

    Parameters
    ----------
    losses
        In grey levels, by input side in pixels; at least one.
    """
    return min((size for size, lost in losses.items() if lost <= DETAIL_LOSS), default=max(losses))


@dataclass(frozen=True)
class InputSizes:
    """Sizes that a product may have, each with the backbone that takes it."""

    backbones: Mapping[int, Backbone]
    """By input side in pixels, at least one."""
    too_slow: Mapping[int, float] = field(default_factory=dict)
    """Milliseconds of the trunk at sizes that the budget rules out, by side."""

    def choose(self, task: StreamTask) -> tuple[Backbone, str]:
        """Return the backbone at the size of a product, and a line that says why it is this one.

        Raises
        ------
        ImageError
            There is no image of a good part, or one cannot be read.
        """
        paths = [path for views in task.samples().train_views() for path in views]
        if not paths:
            raise ImageError(f"{task.path} holds no images of good parts")
        losses = median_losses(paths, sorted(self.backbones))
        chosen = choose_size(losses)
        return self.backbones[chosen], self._line(task.name, losses, chosen)

    def _line(self, name: str, losses: Mapping[int, float], chosen: int) -> str:
        first = min(losses)
        if chosen == first:
            said = f"{chosen} px, which loses {losses[chosen]:.1f} grey levels of detail"
        else:
            said = (
                f"{chosen} px, since {first} px loses {losses[first]:.1f} grey levels of detail "
                f"({chosen} px: {losses[chosen]:.1f})"
            )
        if losses[chosen] > DETAIL_LOSS:
            slow = [f"{ms:.0f} ms at {size} px" for size, ms in self.too_slow.items()]
            said += "".join(f"; the trunk takes {one}, more than --budget-ms" for one in slow)
        return f"{name}: {said}"


def input_sizes(
    method: str, backbone: Backbone, config: Record, budget_ms: float | None
) -> InputSizes:
    """Find the sizes that the products of a training may have.

    Parameters
    ----------
    method
        Name of the method.
    backbone
        At its own size, which is the smallest candidate.
    config
        Options of the method; they say how deep it looks.
    budget_ms
        Longest time of the trunk for one frame on this machine, in milliseconds.

    Raises
    ------
    OptionError
        The method's products share one network, the backbone has one size, or no candidate keeps
        the budget.
    """
    found = load_method(method)
    if isinstance(found, UpdatesEarlierTasks):
        raise OptionError(
            f"the products of {method} share one network, which has one input size; give --size "
            "a number of pixels"
        )
    own = backbone.recipe.width
    larger = round(own * LARGER / MULTIPLE) * MULTIPLE
    candidates = {own: backbone, larger: backbone.at_size(larger)}
    if budget_ms is None:
        return InputSizes(candidates)
    last = backbone.n_blocks - 1
    if isinstance(found, KnowsLastBlock):
        last = found.last_block(backbone, config)
    times = {size: trunk_ms(one, last) for size, one in candidates.items()}
    kept = {size: one for size, one in candidates.items() if times[size] <= budget_ms}
    if not kept:
        raise OptionError(
            f"no input size keeps --budget-ms {budget_ms:g}: at {own} px, the smallest, the trunk "
            f"takes {times[own]:.1f} ms of a frame on this machine; give more, or leave it out"
        )
    return InputSizes(kept, {size: ms for size, ms in times.items() if size not in kept})


def trunk_ms(backbone: Backbone, last: int) -> float:
    """Milliseconds that blocks 0 to ``last`` take for one frame in torch, a median of some runs."""
    recipe, times = backbone.recipe, []
    image = torch.zeros((1, recipe.height, recipe.width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for _ in range(1 + TIMED):
            began = perf_counter()
            backbone.run(backbone.normalise(image), last)
            times.append(1e3 * (perf_counter() - began))
    return median(times[1:])
