"""Links to images under other names, for folders that are put together from images of others."""

import shutil
from pathlib import Path


def link_image(source: Path, place: Path) -> None:
    """Link ``source`` as ``place``; copy it where the file system has no links.

    Raises
    ------
    FileExistsError
        There is something at ``place``; it may be a link to another image, through which a copy
        would be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(source.resolve())
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        shutil.copyfile(source, place)
