"""Names of a layout's folders that are nearly right, whose pictures nobody would read.

``Validation/good`` beside ``train/good`` is a folder like any other to a reader that looks for
``validation``, and ``masks`` beside ``test`` as well: the product would be learned, or measured,
without what lies there.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cad_edge.data.folder import counted, folders_in
from cad_edge.data.good_names import GOOD, means_good
from cad_edge.data.left_out import count_below
from cad_edge.errors import DatasetError

_OTHER_NAMES: Mapping[str, frozenset[str]] = {
    "train": frozenset({"training", "trains", "trainset", "trainingset", "traindata"}),
    "test": frozenset({"tests", "testing", "testset", "testingset", "testdata"}),
    "validation": frozenset({"val", "valid", "validate", "validationset", "valset"}),
    "ground_truth": frozenset({"gt", "mask", "groundtruths", "segmentation", "segmentations"}),
    "gt": frozenset({"groundtruth", "groundtruths", "mask"}),
    "rgb": frozenset({"rgbs", "color", "colour"}),
    "depth": frozenset({"depths", "depthmap", "depthmaps"}),
    "xyz": frozenset({"xyzs", "pointcloud", "pointclouds"}),
    "val": frozenset({"validation", "valid", "validate", "validationset", "valset"}),
    "data": frozenset(),
    "test_public": frozenset({"test", "tests", "testing", "public"}),
}
"""Small letters without signs; `s` at the end of a name is not looked at either."""


def refuse_other_names(folder: Path, known: Sequence[str]) -> None:
    """Raise DatasetError where ``folder`` has pictures in a folder that is named like a ``known``.

    Parameters
    ----------
    folder
        Of a product, or of a kind of it whose planes lie in folders.
    known
        Names of the folders that are read there.
    """
    for place in folders_in(folder):
        name = None if place.name in known else _meant(place.name, known)
        if name is not None and (count := count_below(place)):
            read = folder / name
            raise DatasetError(
                f"the folder {place} holds {counted(count)} that would be left out, as it is not "
                f"called {name}; "
                + (f"move its contents into {read}" if read.is_dir() else f"rename it to {read}")
                + f", or move it out of {folder}"
            )


def learned_elsewhere(folder: Path) -> None:
    """Raise DatasetError where a folder would be a product but for the name of its ``train``."""
    for place in folders_in(folder):
        meant = place.name != "train" and _meant(place.name, ["train"])
        inside = [inner.name for inner in folders_in(place)] if meant else []
        if any(name.casefold() in (GOOD, "data") or means_good(name) for name in inside):
            refuse_other_names(folder, ["train"])


def _meant(name: str, known: Sequence[str]) -> str | None:
    """Which of the names a folder's own is nearly; None where it is another altogether."""
    word = re.sub(r"[\W_]", "", name.casefold())
    for one in known:
        plain = one.replace("_", "")
        if word in (plain, plain + "s") or {word, word.removesuffix("s")} & _OTHER_NAMES[one]:
            return one
    return None
