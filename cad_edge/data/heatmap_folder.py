"""The folder of heat maps: it holds nothing else, and is never listed as images."""

import os
from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.folder import HEATMAP_MARK, contents_of, is_marked, key_of, real_path
from cad_edge.errors import ImageError

LONGEST_NAME = 255  # bytes, of most file systems
_SAYS = (
    "The images here were drawn by `cad-edge detect --heatmaps`.\n"
    "cad-edge neither inspects nor learns from a folder that holds this file.\n"
)


class HeatmapFolder:
    """A folder that gets a heat map for each inspected image.

    Parameters
    ----------
    place
        The folder; made where it is not there.
    inspected
        Files and folders that are inspected.

    Raises
    ------
    ImageError
        What is inspected lies in the folder, where a heat map might replace it; it holds other
        images; or it cannot be made.
    """

    def __init__(self, place: Path, inspected: Sequence[Path]) -> None:
        self.place = place
        _refuse_inspected(place, inspected)
        if not is_marked(place):
            _refuse_images(place)
            try:
                place.mkdir(parents=True, exist_ok=True)
                (place / HEATMAP_MARK).write_text(_SAYS, encoding="utf-8")
            except OSError as problem:
                raise ImageError(
                    f"--heatmaps {place} cannot be made: {problem.strerror}; give another folder"
                ) from None


def _refuse_inspected(place: Path, inspected: Sequence[Path]) -> None:
    real = real_path(place)
    for path in inspected:
        if real == real_path(path) or real in real_path(path).parents:
            raise ImageError(
                f"--heatmaps {place} holds {path}, which is inspected; give a folder of their own, "
                "since heat maps have the images' names"
            )


def _refuse_images(place: Path) -> None:
    """Refuse a folder of the user's own images, which the mark would hide from then on."""
    waiting, seen = [place], set()
    while waiting:
        folder = waiting.pop()
        if (real := real_path(folder)) in seen:
            continue
        seen.add(real)
        found = contents_of(folder)
        if images := found.images + found.unread:
            raise ImageError(
                f"--heatmaps {place} holds images that are no heat maps, for example {images[0]}; "
                f"give a new folder, or put an empty file {HEATMAP_MARK} there if all of them are"
            )
        waiting += found.folders


class HeatmapNames:
    """Gives each heat map a name that no other has and every file system takes."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def of(self, image: Path) -> Path:
        """Name of the heat map of an image, below the folder of heat maps.

        Parameters
        ----------
        image
            Its path below the folder that is inspected; of an image that was named itself, its
            name.
        """
        wanted = image.with_name(_shortened(image.stem, ".png"))
        while True:
            key = key_of(str(wanted)).casefold()  # as a file system may compare them
            self._used[key] = self._used.get(key, 0) + 1
            if self._used[key] == 1:
                return wanted
            wanted = wanted.with_name(_shortened(wanted.stem, f"-{self._used[key]}.png"))


def _shortened(stem: str, ending: str) -> str:
    """``stem`` and ``ending``, without the last letters of ``stem`` that make them too long."""
    room = LONGEST_NAME - len(os.fsencode(ending))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + ending
