"""Everything that a task is learned from, read and decoded, without pictures that are copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cad_edge.data.image import ImageRecipe
from cad_edge.data.product import ProductImages
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError, ImageError
from cad_edge_training.good_parts import GoodParts
from cad_edge_training.images import read_planes, read_samples
from cad_edge_training.learned import Images, Planes, Progress


@dataclass(frozen=True)
class TaskImages:
    """What a task is learned from; shapes are those of `LearningRequest`."""

    images: Images
    defective: Images
    depth: Planes | None
    groups: tuple[str, ...] | None
    names: tuple[str, ...]


def read_task(
    task: StreamTask,
    parts: GoodParts | None,
    recipe: ImageRecipe,
    depth_for: str | None,
    progress: Progress,
) -> TaskImages:
    """Read the images of a task.

    Parameters
    ----------
    task
        Product of a stream.
    parts
        Which of its good parts are copies; None: none is.
    recipe
        What images are brought to.
    depth_for
        Method that looks at depth; None: it is not read.
    progress
        Called as images are read.

    Raises
    ------
    ImageError
        There are no good parts, or a file cannot be read.
    DatasetError
        A picture shows nothing, they are copies of too few parts, there is no depth to look at, or
        groups are not told.
    """
    product = task.samples()
    stated = task.groups(product)
    parts = _matching(parts, product)
    images = read_samples(product.train_views(), task.views, recipe, progress)
    if not len(images):
        raise ImageError(f"{task.path} holds no images of good parts")
    planes = None if depth_for is None else _planes(task, product, recipe, depth_for, progress)
    names = tuple(_below(path, task.path) for path in product.train)
    if parts is not None:
        parts = parts if planes is None else parts.with_depth(planes)
        parts.require()
        kept = parts.kept
        stated = parts.groups(stated)
        images = images if len(kept) == len(images) else images[kept]
        planes = None if planes is None else planes[kept]
        names = tuple(names[place] for place in kept)
    defective = [item.views for item in product.defective]
    return TaskImages(
        images, read_samples(defective, task.views, recipe, progress), planes, stated, names
    )


def read_good_parts(
    task: StreamTask, names: Sequence[str], recipe: ImageRecipe, progress: Progress
) -> Images:
    """Read good parts alone, at another recipe; ``names`` are those of `TaskImages`."""
    kept = set(names)
    every = [views for views in task.samples().train_views() if _below(views[0], task.path) in kept]
    return read_samples(every, task.views, recipe, progress)


def _matching(parts: GoodParts | None, product: ProductImages) -> GoodParts | None:
    """Return ``parts`` unless the folder has changed since they were told apart."""
    return parts if parts is not None and len(parts.names) == len(product.train) else None


def _planes(
    task: StreamTask, product: ProductImages, recipe: ImageRecipe, method: str, progress: Progress
) -> Planes:
    if not product.train_depth:
        raise DatasetError(
            f"{method} looks at depth, and task {task.name} has none; give it a layout with depth, "
            "or options with which images are enough"
        )
    return read_planes(product.train_depth, product.train, recipe, progress)


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
