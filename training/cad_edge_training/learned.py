"""What a method is given and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.calibration import Calibration
from cad_edge.data.depth import DepthRange
from cad_edge.errors import ArtifactError, OptionError
from cad_edge.schema import Record
from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.folds import Folds, draw_folds
from cad_edge_training.held_out_scores import HeldOutImages

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

Images = np.ndarray[Any, np.dtype[np.uint8]]
"""(n, height, width, 3); of samples that have several views (n, views, height, width, 3)."""


Planes = np.ndarray[Any, np.dtype[np.float32]]
"""(n, height, width), depth in the sensor's units, 0 for no measurement."""


def views_in(images: Images) -> int:
    """How many images each sample of ``images`` has."""
    return images.shape[1] if images.ndim == 5 else 1


@dataclass(frozen=True)
class LearningRequest:
    """One task to learn."""

    task: str
    images: Images
    """(n, height, width, 3) uint8 RGB at the backbone's recipe, good parts only; for a method that
    looks at several views, (n, views, height, width, 3)."""
    backbone: Backbone
    folds: Folds
    seed: int
    progress: Progress
    rate: float
    """Stated false-reject rate, in (0, 1)."""
    defective: Images
    """(m, height, width, 3) uint8 RGB, labelled training images with a defect; m is often 0. Of as
    many views as ``images``."""
    earlier: tuple[LearnedTask, ...]
    """What the method learned before, in stream order; empty for the first task."""
    workspace: Path
    """Folder for what an interrupted call may go on from; gone once the artifact is written."""
    depth: Planes | None = None
    """(n, height, width) float32 of ``images``, in the sensor's units with 0 for no measurement;
    for a method that looks at depth."""
    depth_range: DepthRange | None = None
    """Of ``depth``."""
    groups: tuple[str, ...] | None = None
    """Name of the group of each of ``images``, of which none may be divided between what is learned
    from and what is held out; None where every image stands for itself."""
    names: tuple[str, ...] | None = None
    """Path of each of ``images`` below the product's folder, of several views that of the first."""
    keep_outliers: bool = False
    """Whether odd ones among the good parts have a say in thresholds and scales."""

    def with_folds(self, count: int) -> "LearningRequest":
        """Return the task with ``count`` folds, or one for each image or group if they are fewer.

        For a method that learns in closed form; where images are enough for a split, it stays.
        """
        folds = draw_folds(len(self.images), self.rate, self.seed, self.groups, count)
        return replace(self, folds=folds)

    def held_out_images(self, held_out: NDArray[np.int64], groups: int | None) -> HeldOutImages:
        """Return which images the held-out ones are, ``held_out`` (m,) by place."""
        names = None if self.names is None else [self.names[place] for place in held_out]
        return HeldOutImages(groups, self.keep_outliers, names)


@dataclass(frozen=True)
class LearningResult:
    """What a method learned."""

    tensors: Tensors
    calibration: Calibration
    shared_weights: Tensors = field(default_factory=dict)
    """What the method shares between its tasks, as it is after this one."""


def require_whole_step(is_whole: bool) -> None:
    """Raise ArtifactError unless the shared weights of the newest step are whole."""
    if not is_whole:
        raise ArtifactError(
            "the product learned last was learned together with others of which one is missing; "
            "put the artifacts of all products of its step into one folder"
        )


def require_options(request: LearningRequest, config: Record) -> None:
    """Raise OptionError where tasks before were learned with other options.

    Parameters
    ----------
    request
        With the tasks that share what is learned.
    config
        Options of the method; what it does not write into artifacts may differ.
    """
    options = config.model_dump(mode="json")
    for task in request.earlier:
        artifact, known = task.artifact, task.artifact.hyperparameters
        for name in sorted(options.keys() | known.keys()):
            if options.get(name) != known.get(name):
                raise OptionError(
                    f"{artifact.task} was learned with {name}={known.get(name)} and not "
                    f"{options.get(name)}, and tasks that share what {artifact.method} learns "
                    "share their options; give the same, or --out another folder"
                )
