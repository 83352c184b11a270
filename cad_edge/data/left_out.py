"""Pictures that a reader would leave out, refused before anything is learned or measured.

A product that is learned from fewer parts than its folder holds looks like any other: nobody
notices. So what lies where a layout has no place for it is named, with its number and the remedy.
"""

from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.folder import contents_of, counted, folders_in, images_in, real_path
from cad_edge.data.good_names import GOOD as GOOD
from cad_edge.data.good_names import means_good
from cad_edge.errors import DatasetError


def refuse_other_good(folders: Sequence[Path]) -> None:
    """Raise DatasetError where a folder of good parts is called by another name than ``good``."""
    beside = any(folder.name == GOOD for folder in folders)
    alone = not any(folder.name == GOOD and count_below(folder) for folder in folders)
    for folder in folders:
        if means_good(folder.name, alone):
            good = folder.with_name(GOOD)
            raise DatasetError(
                f"{folder} would not count as good parts by its name; "
                + (f"move its images into {good}" if beside else f"rename it to {good}")
                + ", or give it the name of its defect if it holds defective ones"
            )


def count_below(folder: Path) -> int:
    """Count the pictures in a folder and its sub-folders, each folder once.

    Links back to the folders that it lies in lead to nothing new.
    """
    beside = real_path(folder.parent)
    count, waiting, seen = 0, [folder], {beside, *beside.parents}
    while waiting:
        place = waiting.pop()
        real = real_path(place)
        if real not in seen:
            seen.add(real)
            found = contents_of(place)
            count += len(found.images) + len(found.unread)
            waiting += found.folders
    return count


def refuse_deeper(folder: Path, remedy: str = "") -> None:
    """Raise DatasetError where sub-folders of ``folder`` hold pictures, which nobody would read.

    Parameters
    ----------
    folder
        Whose own images are read.
    remedy
        What can be done besides moving them.
    """
    refuse_left_out(folders_in(folder), folder, remedy)


def refuse_left_out(folders: Sequence[Path], into: Path, remedy: str = "") -> None:
    """Raise DatasetError where one of ``folders`` holds pictures, which belong ``into`` another."""
    counts = {folder: count for folder in folders if (count := count_below(folder))}
    if not counts:
        return
    first, *others = counts
    more = f" and {len(others)} more" if others else ""
    hold = "hold" if others else "holds"
    raise DatasetError(
        f"the folder {first}{more} {hold} {counted(sum(counts.values()))} that would be left out; "
        f"{remedy}move the images into {into}, or out of the product's folder"
    )


def refuse_beside_good(folder: Path) -> None:
    """Raise DatasetError where ``train`` holds pictures beside its folder ``good``."""
    beside = [place for place in folders_in(folder) if place.name != GOOD]
    if loose := images_in(folder):
        raise DatasetError(
            f"{folder} holds {counted(len(loose))} beside {GOOD} that would be left out, for "
            f"example {loose[0].name}; move them into {folder / GOOD}, or out of {folder}"
        )
    refuse_other_good([place for place in folders_in(folder) if count_below(place)])
    refuse_left_out(beside, folder / GOOD)
