"""The frames that a bundle is shown: images of a folder, or synthetic ones where there are none.

A bundle holds no images. Synthetic frames have the size of the bundle's input, so nothing is
decoded or resized, and they show no product, so they are shown to a version that accepts all.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge.data.depth import Plane
from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import Frame, ImageRecipe, decode_image
from cad_edge.data.image_formats import SUFFIXES
from cad_edge.data.image_tree import image_tree
from cad_edge.errors import DatasetError
from cad_edge_benchmarks.instruments.conditions import FrameFacts
from cad_edge_runtime import Detection, Detector
from cad_edge_runtime.listing import ImageFile, with_depth

SYNTHETIC_FRAMES = 32
MOST_IMAGES = 64
MOST_BYTES = 256_000_000  # of decoded frames in memory
SYNTHETIC_NOTE = (
    "The frames are synthetic and show no product. So that each is recognised and judged as a good "
    "part is, and not refused or searched for defects, the version measured has the graphs and "
    "tensors of the bundle but radii and thresholds that let everything pass. Frames have the size "
    "of the input, so decoding and resizing are not in these figures; --images shows real ones."
)
DEPTH_NOTE = " Their depth is synthetic, too, and in no unit: the version measured asks for none."
_CELLS = 8  # of the coarse pattern along a side of a synthetic frame


@dataclass(frozen=True)
class ShownFrame:
    """One frame."""

    rgb: Frame
    path: Path | None
    """None for a synthetic frame."""
    depth: Plane | None = None
    """(h, w) float32, where depth is shown."""
    depth_path: Path | None = None

    def inspected(self, detector: Detector, task: str | None = None) -> Detection:
        """Show it to a detector."""
        return detector.detect(self.rgb, task, self.depth)


@dataclass(frozen=True)
class ShownFrames:
    """Frames in the order in which they are shown; at least one."""

    shown: tuple[ShownFrame, ...]
    facts: FrameFacts

    def __getitem__(self, number: int) -> ShownFrame:
        """Return a frame, from the first again after the last."""
        return self.shown[number % len(self.shown)]

    @property
    def are_real(self) -> bool:
        """Whether they are images and not synthetic."""
        return self.facts.source == "images"


def read_frames(folder: Path, depth: Path | None = None) -> ShownFrames:
    """Decode images of ``folder`` and its subfolders, evenly chosen over their sorted paths.

    Parameters
    ----------
    folder
        Holds images.
    depth
        Folder of depth files with the images' names, if depth is shown.

    Raises
    ------
    DatasetError
        The folder is not there or holds no image.
    ImageError
        An image or a depth file cannot be used, or they do not belong together.
    """
    found = _files(folder, depth)
    chosen = [
        found[place * len(found) // min(MOST_IMAGES, len(found))]
        for place in range(min(MOST_IMAGES, len(found)))
    ]
    shown: list[ShownFrame] = []
    room = MOST_BYTES
    for file in chosen:
        rgb = decode_image(file.path)
        plane = None if file.depth is None else decode_depth(file.depth)
        room -= rgb.nbytes + (0 if plane is None else plane.nbytes)
        if shown and room < 0:
            break
        shown.append(ShownFrame(rgb, file.path, plane, file.depth))
    return ShownFrames(tuple(shown), _facts("images", shown, len(found)))


def _files(folder: Path, depth: Path | None) -> list[ImageFile]:
    files = [ImageFile(path, path, (path,)) for path in _image_paths(folder)]
    if depth is None:
        return files
    return [item for item in with_depth(files, depth) if isinstance(item, ImageFile)]


def _image_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"--images {folder} is not a folder; give one that holds images")
    tree = image_tree(folder)
    if tree.problems:
        raise DatasetError(tree.problems[0])
    found = list(tree.images)
    if not found:
        raise DatasetError(
            f"--images {folder} holds no image; give a folder with {', '.join(sorted(SUFFIXES))} "
            "files"
        )
    return found


def synthetic_frames(recipe: ImageRecipe, seed: int, depth: bool = False) -> ShownFrames:
    """Make frames of ``recipe``'s size: a smooth coarse pattern under fine grain, seeded.

    Where ``depth`` is shown, the pattern is that of a surface as well.
    """
    rng = np.random.default_rng(seed)
    shown = [ShownFrame(_surface(recipe, rng), None) for _ in range(SYNTHETIC_FRAMES)]
    if depth:
        shown = [replace(one, depth=one.rgb[..., 0].astype(np.float32) + 1) for one in shown]
    facts = _facts("synthetic", shown, 0)
    if depth:
        facts = facts.model_copy(update={"note": facts.note + DEPTH_NOTE})
    return ShownFrames(tuple(shown), facts)


def _surface(recipe: ImageRecipe, rng: np.random.Generator) -> Frame:
    coarse = rng.integers(40, 216, (_CELLS, _CELLS, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize(
        (recipe.width, recipe.height), resample=Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 8, (recipe.height, recipe.width, 3))
    return np.clip(np.array(smooth) + grain, 0, 255).astype(np.uint8)


def _facts(source: str, shown: list[ShownFrame], found: int) -> FrameFacts:
    sizes = Counter(f"{one.rgb.shape[1]}x{one.rgb.shape[0]}" for one in shown)
    return FrameFacts.model_validate(
        {
            "source": source,
            "frames": len(shown),
            "found": found,
            "sizes": [size for size, _ in sizes.most_common()],
            "note": "" if source == "images" else SYNTHETIC_NOTE,
        }
    )
