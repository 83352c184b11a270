"""Where results may be written, asked before minutes of measuring."""

import os
from pathlib import Path

from cad_edge.errors import OptionError


def check_folder(option: str, folder: Path) -> None:
    """Raise OptionError where nothing could be written into ``folder``."""
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise OptionError(f"{option} {folder} cannot be made ({above} is a file); give a folder")
    if not os.access(above, os.W_OK):
        raise OptionError(f"{option} {folder} cannot be written to; give another folder")


def check_file(option: str, path: Path) -> None:
    """Raise OptionError where a file could not be written, before minutes of measuring."""
    above = next(place for place in path.absolute().parents if place.exists())
    if path.is_dir() or not above.is_dir():
        culprit = f"{path} is a folder" if path.is_dir() else f"{above} is a file"
        raise OptionError(f"{option} {path} cannot be written ({culprit}); give the name of a file")
