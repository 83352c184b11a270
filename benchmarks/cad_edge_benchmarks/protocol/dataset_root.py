"""Finding the classes of a protocol in the folder of a downloaded dataset.

A class is used where it lies. One of which only some training images are to be used is seen through
a folder of links in the MVTec AD layout.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.product import GOOD
from cad_edge.data.product_folders import layout_of
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError
from cad_edge_benchmarks.instruments.image_folders import link_image
from cad_edge_benchmarks.protocol.splits import CLASSES, TITLES, Dataset, Split


def find_classes(split: Split, roots: Sequence[Path]) -> dict[str, StreamTask]:
    """Find every class of ``split`` below ``roots``.

    Raises
    ------
    DatasetError
        Too few or too many roots, a root that is no folder or holds another dataset, or classes
        that are missing, all of which are named.
    """
    if len(roots) != len(split.datasets):
        wanted = " and ".join(TITLES[dataset] for dataset in split.datasets)
        raise DatasetError(
            f"{split.name} needs {len(split.datasets)} --data ({wanted}), not {len(roots)}"
        )
    found: dict[str, StreamTask] = {}
    named = {name for step in split.steps for name in step}
    for dataset, root in _matched(split, roots):
        wanted_here = [name for name in CLASSES[dataset] if name in named]
        found |= _find_all(dataset, root.absolute(), wanted_here, split.name)
    return found


def _matched(split: Split, roots: Sequence[Path]) -> list[tuple[Dataset, Path]]:
    """Give each root its dataset; the roots of several datasets may come in any order."""
    for root in roots:
        if not root.is_dir():
            raise DatasetError(f"--data {root} is not a folder; give the folder of the dataset")
    if len(roots) == 1:
        return [(split.datasets[0], roots[0])]
    visa = [root for root in roots if (root / "split_csv").is_dir()]
    other = [root for root in roots if root not in visa]
    if len(visa) != 1 or len(other) != 1:
        raise DatasetError(
            f"{split.name} needs one --data with MVTec AD and one with VisA (known by its folder "
            f"split_csv), but {len(visa)} of {', '.join(map(str, roots))} hold split_csv"
        )
    return [("mvtec", other[0]), ("visa", visa[0])]


def _find_all(
    dataset: Dataset, root: Path, names: Sequence[str], protocol: str
) -> dict[str, StreamTask]:
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise DatasetError(
            f"{root} lacks {', '.join(missing)} of the {TITLES[dataset]} classes that {protocol} "
            "names; give --data the folder that holds all of them"
        )
    return {name: _task(dataset, name, root / name) for name in names}


def _task(dataset: Dataset, name: str, path: Path) -> StreamTask:
    layout = "visa" if dataset == "visa" else layout_of(path)
    return StreamTask(name=name, path=path, layout=layout)


def link_first(task: StreamTask, count: int, target: Path) -> StreamTask:
    """Make ``target`` the same class with its first ``count`` training images by name."""
    product = task.samples()
    shutil.rmtree(target, ignore_errors=True)
    for image in product.train[:count]:
        link_image(image, target / "train" / GOOD / image.name)
    for item in product.test:
        link_image(item.path, target / "test" / item.label / item.path.name)
        if item.mask is not None:
            ending = "" if item.mask.is_dir() else item.mask.suffix
            name = f"{item.path.stem}{ending}"
            link_image(item.mask, target / "ground_truth" / item.label / name)
    return StreamTask(name=task.name, path=target, layout="mvtec")
