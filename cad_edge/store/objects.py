"""Content-addressed objects: immutable folders named by the sha256 of what they hold.

    objects/<sha256>/graph.onnx [external data files]     a graph
    objects/<sha256>/tensors.safetensors                  tensors of a task

The sha256 of an object is that of the lines ``name NUL sha256-of-the-file LF`` of its files, sorted
by name. An object is written under a temporary name and renamed, hence there whole or not at all.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from cad_edge.errors import BundleError, IntegrityError
from cad_edge.schema import sha256_of
from cad_edge.store.atomic_write import (
    TEMPORARY,
    size_of,
    sync_folder,
    temporary_beside,
    write_file,
)
from cad_edge.store.plain_file import read_chunks, read_plain
from cad_edge.store.unreadable import reading

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
MAXIMUM_FILES = 1000
"""Files of one object; a graph with external data has a few."""
_READ_AT_ONCE = 1 << 26  # bytes; what is larger is hashed before it fills the memory


def is_sha256(name: str) -> bool:
    """Whether ``name`` can be the name of an object or manifest."""
    return _SHA256.fullmatch(name) is not None


def object_sha256(files: Mapping[str, str]) -> str:
    """Return the sha256 of an object, given the sha256 of each of its files by name."""
    return sha256_of("".join(f"{name}\0{files[name]}\n" for name in sorted(files)).encode())


class ObjectStore:
    """The folder ``objects`` of a bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha: str) -> Path:
        """Folder of an object, there or not; IntegrityError if ``sha`` is not a sha256."""
        if not is_sha256(sha):
            raise IntegrityError(f"{sha!r} is not the sha256 of an object in {self.folder}")
        return self.folder / sha

    def holds(self, sha: str) -> bool:
        """Whether the object is there; its bytes are not looked at."""
        path = self.path(sha)
        return path.is_dir() and not path.is_symlink()

    def read(self, sha: str, limit: int | None = None) -> dict[str, bytes]:
        """Bytes of every file by name.

        Parameters
        ----------
        sha
            Of the object.
        limit
            Most bytes that its files may hold together; None: as many as they have.

        Raises
        ------
        IntegrityError
            The files are not what ``sha`` says.
        BundleError
            They are larger than ``limit``, or this process may or can not read them.
        """
        paths = self._listing(sha)
        total = sum(size_of(path) for path in paths)
        if limit is not None and total > limit:
            raise BundleError(
                f"{self.path(sha)} holds {total:,} bytes, and at most {limit:,} may be read; allow "
                "more, or export the bundle again"
            )
        if total > _READ_AT_ONCE:
            self.verify(sha)
        files = {path.name: _read(path, limit) for path in paths}
        self._compare(sha, {name: sha256_of(data) for name, data in files.items()})
        return files

    def verify(self, sha: str) -> Path:
        """Folder of the object after hashing its files piece by piece, in little memory."""
        self._compare(sha, {path.name: _hash(path) for path in self._listing(sha)})
        return self.path(sha)

    def copy(self, sha: str, target: Path) -> None:
        """Copy an object's files into the folder ``target``, hashing the bytes that are written.

        Raises
        ------
        IntegrityError
            The files are not what ``sha`` says.
        OSError
            The copy cannot be written.
        """
        hashes = {}
        for path in self._listing(sha):
            digest = hashlib.sha256()
            with (target / path.name).open("xb") as file:
                for chunk in _chunks(path):
                    digest.update(chunk)
                    file.write(chunk)
            hashes[path.name] = digest.hexdigest()
        self._compare(sha, hashes)

    def add(self, files: Mapping[str, bytes]) -> str:
        """Store ``files``; a sound object with the same content is left untouched."""
        hashes = {_file_name(name): sha256_of(data) for name, data in files.items()}
        return self._store(hashes, lambda name: [files[name]])

    def add_folder(self, source: Path) -> str:
        """Store the files of ``source``, never holding one of them in memory."""
        hashes = {_file_name(path.name): _hash(path) for path in _regular_files(source)}
        return self._store(hashes, lambda name: read_chunks(source / name))

    def _store(self, hashes: dict[str, str], chunks: Callable[[str], Iterable[bytes]]) -> str:
        if not hashes:
            raise BundleError(f"an object of {self.folder} needs at least one file")
        sha = object_sha256(hashes)
        target = self.path(sha)
        if self._sound(sha):
            return sha
        with temporary_beside(target) as temporary:
            temporary.mkdir()
            for name in sorted(hashes):
                write_file(temporary / name, chunks(name))
            sync_folder(temporary)
            written = {path.name: _hash(path) for path in _regular_files(temporary)}
            if written != hashes:
                raise BundleError(f"{target} changed while it was being stored; try again")
            self.discard(sha)
            os.rename(temporary, target)  # noqa: PTH104 - one call that fault tests can intercept
            sync_folder(self.folder)
        return sha

    def discard(self, sha: str) -> None:
        """Remove an object; killed half-way, it is there whole or under a temporary name."""
        target = self.path(sha)
        if not os.path.lexists(target):
            return
        with temporary_beside(target) as doomed:
            os.rename(target, doomed)  # noqa: PTH104 - one call that fault tests can intercept
            sync_folder(self.folder)

    def stored(self) -> list[str]:
        """Sha256 of every object in the folder, sorted; nothing is verified."""
        if not self.folder.is_dir():
            return []
        with reading(self.folder):
            return sorted(path.name for path in self.folder.iterdir() if is_sha256(path.name))

    def strays(self) -> list[Path]:
        """Entries that are neither objects nor temporary."""
        if not self.folder.is_dir():
            return []
        with reading(self.folder):
            paths = [path for path in self.folder.iterdir() if not is_sha256(path.name)]
        return sorted(path for path in paths if not path.name.startswith(TEMPORARY))

    def _sound(self, sha: str) -> bool:
        """Whether the object can be shared; a broken one is written anew by the caller."""
        try:
            self.verify(sha)
        except IntegrityError:
            return False
        return True

    def _listing(self, sha: str) -> list[Path]:
        folder = self.path(sha)
        with reading(folder):
            linked, there = folder.is_symlink(), folder.is_dir()
        if linked:
            raise IntegrityError(f"{folder} is a symbolic link; copy the bundle again")
        if not there:
            raise IntegrityError(f"{folder} is missing; copy or export the bundle again")
        return _regular_files(folder)

    def _compare(self, sha: str, hashes: dict[str, str]) -> None:
        if object_sha256(hashes) == sha:
            return
        folder = self.path(sha)
        for name in hashes:
            rest = {other: hashes[other] for other in hashes if other != name}
            if object_sha256(rest) == sha:
                raise IntegrityError(f"{folder / name} does not belong there; remove it")
        if not hashes:
            raise IntegrityError(f"{folder} is empty; copy or export the bundle again")
        names = ", ".join(sorted(hashes))
        raise IntegrityError(
            f"{folder} is not what its sha256 says: {names} changed, or a file beside it is "
            "missing; copy the bundle again"
        )


def _file_name(name: str) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise BundleError(f"{name!r} cannot be the name of a file in a bundle's object")
    return name


def _read(path: Path, limit: int | None) -> bytes:
    with reading(path):
        return read_plain(path, limit)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    """Bytes of a file in pieces; what keeps them from being read is one sentence."""
    pieces = read_chunks(path)
    while True:
        with reading(path):
            chunk = next(pieces, b"")
        if not chunk:
            return
        yield chunk


def _regular_files(folder: Path) -> list[Path]:
    """Files of ``folder`` by name; IntegrityError for anything that is not a plain file."""
    with reading(folder), os.scandir(folder) as listing:
        entries = sorted(islice(listing, MAXIMUM_FILES + 1), key=lambda entry: entry.name)
    if len(entries) > MAXIMUM_FILES:
        raise IntegrityError(
            f"{folder} holds more than {MAXIMUM_FILES:,} files, which no object has; export the "
            "bundle again"
        )
    for entry in entries:
        if not entry.is_file(follow_symlinks=False):
            kind = "a symbolic link" if entry.is_symlink() else "not a plain file"
            raise IntegrityError(f"{entry.path} is {kind}; only plain files belong there")
        if not _FILE_NAME.fullmatch(entry.name):
            raise IntegrityError(f"{entry.path} does not belong there; remove it")
    return [Path(entry.path) for entry in entries]
