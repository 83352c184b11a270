"""What lies in a folder: images, sub-folders, and pictures that nobody would read.

One listing serves training, the device and what measures, so that a file that is passed over by one
is passed over by all. Only names are read here (and the first bytes of files without a suffix).
Every listing is sorted, so that a seed gives the same result on every file system.
"""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cad_edge.data.image_formats import SUFFIXES
from cad_edge.errors import DatasetError

HEATMAP_MARK = ".cad-edge-heatmaps"
"""File that `cad-edge detect --heatmaps` leaves: its folder is neither learned nor inspected."""

_OTHER_FORMATS = (
    "gif apng jp2 j2k j2c jpc jpf jpx jpm jxl jxr wdp hdp heic heif hif avif pgm ppm pbm pnm pam "
    "pfm raw dng cr2 cr3 crw nef arw orf rw2 raf pef srw exr hdr tga psd xcf pcx dib jfif jpe jif "
    "jfi mpo jps jls dcm fits fit fts btf tf8 dds qoi bpg flif sgi ras czi lsm nd2 svs"
)
UNREAD = frozenset(f".{name}" for name in _OTHER_FORMATS.split()) - SUFFIXES
"""Suffixes of pictures in formats that are not read."""

# Written beside images by network drives, archives and desktops; never by a camera.
_SYSTEM = frozenset(
    {"@eadir", "__macosx", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
)
_COPIED = r"[\s~_]+|\.(bak|backup|old|orig|save|part|partial|crdownload|download|gz|bz2|xz|zst|\d+)"
_RENAMED = re.compile(
    rf"({'|'.join(map(re.escape, sorted(SUFFIXES | UNREAD)))})({_COPIED})", re.IGNORECASE
)
_MAGIC = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"RIFF", b"GIF8")


@dataclass(frozen=True)
class Contents:
    """Visible entries of a folder, each kind sorted by name."""

    images: tuple[Path, ...] = ()
    """Files that can be decoded; a link to nothing among them, so that decoding it says so."""
    folders: tuple[Path, ...] = ()
    """Sub-folders, linked ones too; those of heat maps aside."""
    unread: tuple[Path, ...] = ()
    """Pictures that cannot be decoded, by their names."""
    lost: tuple[Path, ...] = ()
    """Links to nothing that are no images by their names, as each may have been a folder; and
    images that are no files."""


def is_hidden(name: str) -> bool:
    """Whether an entry of a folder is none of the user's, by its name."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def is_marked(folder: Path) -> bool:
    """Whether `cad-edge detect` has drawn its heat maps into a folder."""
    return os.path.isfile(folder / HEATMAP_MARK)  # noqa: PTH113 - it never raises


def real_path(path: Path) -> Path:
    """Return where a path leads once every link is followed, as the system follows them."""
    return Path(os.path.realpath(path))


def contents_of(folder: Path) -> Contents:
    """List a folder; there is nothing in one that does not exist.

    Raises
    ------
    DatasetError
        The folder cannot be read.
    """
    images: list[Path] = []
    folders: list[Path] = []
    unread: list[Path] = []
    lost: list[Path] = []
    for entry in _entries(folder):
        path = folder / entry.name
        if _is_folder(entry):
            if not is_marked(path):
                folders.append(path)
        elif path.suffix.lower() in SUFFIXES:
            (lost if _is_special(entry) else images).append(path)
        elif entry.is_symlink() and not os.path.exists(path):  # noqa: PTH110 - it never raises
            lost.append(path)
        elif _is_picture(entry):
            unread.append(path)
    return Contents(tuple(images), tuple(folders), tuple(unread), tuple(lost))


def images_in(folder: Path) -> tuple[Path, ...]:
    """Image files of a folder by name; hidden files and what is no picture are passed over.

    Raises
    ------
    DatasetError
        The folder cannot be read, or holds pictures of formats that are not read.
    """
    found = contents_of(folder)
    if found.unread:
        raise DatasetError(unread_sentence(folder, found.unread))
    return found.images


def folders_in(folder: Path) -> list[Path]:
    """Folders of a folder by name, hidden ones and those of heat maps aside.

    Raises
    ------
    DatasetError
        The folder cannot be read, or holds a link to nothing.
    """
    found = contents_of(folder)
    if found.lost:
        raise DatasetError(lost_sentence(found.lost[0]))
    return list(found.folders)


def unread_sentence(folder: Path, unread: tuple[Path, ...]) -> str:
    """Say that a folder holds pictures of other formats: how many, which, and what to do."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in unread)
    named = ", ".join(list(kinds)[:4])
    return (
        f"{folder} holds {counted(len(unread))} in a format that is not read ({named}; for example "
        f"{unread[0].name}); save as one of {', '.join(sorted(SUFFIXES))}, or move elsewhere"
    )


def lost_sentence(path: Path) -> str:
    """Say why an entry of a folder is of no use."""
    try:
        path.stat()
        return f"{path} is a pipe, a socket or a device; give files, or remove it"
    except OSError as problem:
        reason = problem.strerror or str(problem)
    return f"the link {path} leads nowhere ({reason}); mount or restore its target, or remove it"


def counted(count: int) -> str:
    """Count images."""
    return f"{count} image{'' if count == 1 else 's'}"


def key_of(name: str) -> str:
    """Write a name as its like are compared: macOS has letters with accents in two characters."""
    return unicodedata.normalize("NFC", name)


def found_file(root: Path, name: str) -> Path | None:
    """File that a table calls ``name``, below ``root``; None where there is none.

    Raises
    ------
    DatasetError
        Two files have that name, differing in how their letters are written.
    """
    if os.path.isfile(root / name):  # noqa: PTH113 - it never raises
        return root / name
    if name.isascii():
        return None
    wanted = root / name
    places = [Path(wanted.anchor)]
    for part in wanted.parts[1:]:
        places = [found for place in places for found in _named_alike(place, part)]
    files = [path for path in places if path.is_file()]
    if len(files) > 1:
        raise DatasetError(
            f"{files[0].parent} holds two files named {files[0].name}, written in other characters "
            "(Unicode NFC and NFD); rename one"
        )
    return files[0] if files else None


def _named_alike(place: Path, part: str) -> list[Path]:
    if os.path.lexists(place / part):
        return [place / part]
    return [place / entry.name for entry in _entries(place) if key_of(entry.name) == key_of(part)]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """Visible entries of a folder, sorted by name."""
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not is_hidden(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        raise DatasetError(
            f"{folder} cannot be read: {problem.strerror}; allow this user to read it, or move it"
        ) from None
    return sorted(entries, key=lambda entry: (key_of(entry.name), entry.name))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where this user may not look
        return False


def _is_special(entry: "os.DirEntry[str]") -> bool:
    """Whether reading an entry might wait for ever: it is there, and is no file."""
    try:
        return not entry.is_file() and bool(entry.stat())
    except OSError:
        return False


def _is_picture(entry: "os.DirEntry[str]") -> bool:
    """Whether a file that is no image by its suffix is one all the same."""
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - of names, not of paths
    if suffix:
        return suffix in UNREAD or any(
            found.end() == len(entry.name) for found in _RENAMED.finditer(entry.name)
        )
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb") as file:  # noqa: PTH123
            return file.read(8).startswith(_MAGIC)
    except OSError:
        return False
