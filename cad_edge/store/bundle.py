"""The bundle: every engine that a device opens, as immutable objects and one pointer.

    bundle.json               the Pointer: which manifest is in force; replaced atomically
    manifests/<sha256>.json   one version each, naming the version before as ``previous``
    objects/<sha256>/...      see cad_edge.store.objects
    .lock                     held by the one process that writes

A version is visible when ``bundle.json`` names it, and by then everything it needs is on the disk:
killed at any moment, a bundle opens as before or as after.

A version's number is its place in its own history: 1 + that of ``previous``. Rolling back points to
an older manifest and changes nothing else, so the next commit builds on that one and counts on from
it. The versions left behind stay, and ``rollback(version)`` finds them, until garbage collection;
two histories may use one number, the sha256 of the manifest tells them apart.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cad_edge.errors import BundleError, IntegrityError
from cad_edge.schema import canonical_json
from cad_edge.store.atomic_write import TEMPORARY, remove, replace_file, sync_folder
from cad_edge.store.history import History, read_format
from cad_edge.store.lock import WriterLock
from cad_edge.store.manifest import Manifest, Pointer
from cad_edge.store.objects import ObjectStore


@dataclass(frozen=True)
class GarbageReport:
    """What a garbage collection removed."""

    objects: tuple[str, ...]
    manifests: tuple[str, ...]
    bytes: int
    """Of objects, manifests and temporary files together."""


class Bundle:
    """A bundle folder, which need not exist yet. Reading needs no lock and writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._objects = ObjectStore(self.path / "objects")
        self._history = History(self.path / "manifests")
        self._lock = WriterLock(self.path / ".lock")

    @property
    def _pointer_path(self) -> Path:
        return self.path / "bundle.json"

    def exists(self) -> bool:
        """Whether a version is in force."""
        return self._pointer_path.is_file()

    def pointer(self) -> Pointer:
        """Version in force; BundleError if the folder holds none or it cannot be read."""
        try:
            data = self._pointer_path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            reason = "it is a file" if self.path.is_file() else "it has no bundle.json"
            raise BundleError(
                f"{self.path} is not a bundle ({reason}); "
                "give the folder that `cad-edge export` wrote"
            ) from None
        except OSError as problem:
            raise BundleError(f"{self._pointer_path} cannot be read: {problem.strerror}") from None
        return read_format(Pointer, data, self._pointer_path, BundleError)

    def manifest(self, sha: str | None = None) -> Manifest:
        """Manifest in force, or the one with this sha256.

        Raises
        ------
        IntegrityError
            The file is missing or is not what its sha256 says.
        BundleError
            There is no bundle, or the manifest is of a format that this version does not read.
        """
        if sha is not None:
            return self._history.read(sha)
        pointer = self.pointer()
        manifest = self._history.read(pointer.manifest)
        if manifest.version != pointer.version:
            raise IntegrityError(
                f"{self._pointer_path} names version {pointer.version}, but its manifest is "
                f"version {manifest.version}; copy the bundle again"
            )
        return manifest

    def read_object(self, sha: str) -> dict[str, bytes]:
        """Bytes of every file of an object by name; IntegrityError unless all are as written."""
        return self._objects.read(sha)

    def object_folder(self, sha: str) -> Path:
        """Folder of an object, unverified; IntegrityError if ``sha`` is not a sha256."""
        return self._objects.path(sha)

    def verify_object(self, sha: str) -> Path:
        """Folder of an object after hashing all of it; IntegrityError unless it is as written."""
        return self._objects.verify(sha)

    def add_object(self, files: Mapping[str, bytes]) -> str:
        """Store files as an object and return its sha256; an equal object is left untouched.

        Raises
        ------
        BundleError
            A name is not a plain file name, or the disk refused; nothing is left behind.
        """
        return self._objects.add(files)

    def add_object_folder(self, folder: Path) -> str:
        """Store a copy of a folder of plain files that may be too large for memory."""
        return self._objects.add_folder(folder)

    def lock(self) -> AbstractContextManager[None]:
        """Exclude other writers for a block; BundleLocked at once if there is one."""
        return self._lock.hold()

    def commit(self, manifest: Manifest) -> Pointer:
        """Put a new version in force; the caller holds the lock.

        Raises
        ------
        BundleError
            The lock is not held, the version is not the next one, or the disk refused.
        IntegrityError
            An object that the manifest names is not in the bundle.
        """
        if not self._lock.held:
            raise BundleError(f"{self.path} must be locked for a commit; use `with bundle.lock()`")
        self._check_next(manifest)
        for name in sorted(manifest.objects()):
            if not self._objects.holds(name):
                raise IntegrityError(f"{self._objects.path(name)} is missing; add it before commit")
        return self._point(self._history.write(manifest), manifest)

    def _check_next(self, manifest: Manifest) -> None:
        current = self.pointer() if self.exists() else None
        version = current.version + 1 if current else 1
        previous = current.manifest if current else None
        if (manifest.version, manifest.previous) != (version, previous):
            raise BundleError(
                f"{self.path} expects version {version} after {previous}, not version "
                f"{manifest.version} after {manifest.previous}; export again"
            )

    def _point(self, sha: str, manifest: Manifest) -> Pointer:
        pointer = Pointer(manifest=sha, version=manifest.version)
        try:
            # An object or manifest that a killed writer had renamed is shared without being
            # written again, so its name may not be durable yet.
            for folder in (self._objects.folder, self._history.folder):
                sync_folder(folder)
        except OSError as problem:
            raise BundleError(
                f"{self.path} cannot be made durable: {problem.strerror}"
            ) from problem
        replace_file(self._pointer_path, canonical_json(pointer))
        return pointer

    def _sync_names(self) -> None:
        try:
            for folder in (self._objects.folder, self._history.folder):
                sync_folder(folder)
        except OSError as problem:
            raise BundleError(f"{self.path} cannot be written to: {problem.strerror}") from problem

    def rollback(self, version: int | None = None) -> Pointer:
        """Put an older version in force again, after verifying everything that it needs.

        Without ``version`` it is the one before. A version that an earlier rollback left behind can
        be named too, unless several histories hold that number.
        """
        self.pointer()
        with self.lock():
            sha = self._history.find(self.pointer().manifest, version)
            manifest = self._history.read(sha)
            for name in sorted(manifest.objects()):
                self.verify_object(name)
            return self._point(sha, manifest)

    def collect_garbage(self, keep: int = 2) -> GarbageReport:
        """Delete what none of the last ``keep`` versions needs, and stale temporary files.

        The versions are counted back from the one in force along ``previous``; one that a rollback
        left behind goes. Nobody may be adding objects outside the lock meanwhile.
        """
        if keep < 1:
            raise BundleError("garbage collection must keep at least 1 version")
        self.pointer()
        with self.lock():
            chain = self._history.back_from(self.pointer().manifest)
            kept = dict(itertools.islice(chain, keep))
            needed = {name for manifest in kept.values() for name in manifest.objects()}
            manifests = tuple(sha for sha in self._history.stored() if sha not in kept)
            objects = tuple(sha for sha in self._objects.stored() if sha not in needed)
            doomed = [self._history.path(sha) for sha in manifests]
            stale = [path for folder in self._folders() for path in folder.glob(f"{TEMPORARY}*")]
            size = sum(_size(path) for path in doomed + stale)
            size += sum(_size(self._objects.path(sha)) for sha in objects)
            # Manifests go first: killed in between, no manifest names an object that is gone.
            for path in doomed + stale:
                remove(path)
            self._sync_names()
            for sha in objects:
                self._objects.discard(sha)
        return GarbageReport(objects, manifests, size)

    def verify(self) -> list[str]:
        """Every problem as a sentence; an empty list means that the bundle is sound."""
        problems: list[str] = []
        named: set[str] = set()

        def check(action: Callable[[], Manifest | Path]) -> None:
            try:
                found = action()
            except BundleError as problem:
                problems.append(str(problem))
            else:
                named.update(found.objects() if isinstance(found, Manifest) else ())

        check(self.manifest)
        for sha in self._history.stored():
            check(partial(self._history.check, sha))
        for sha in sorted(named.union(self._objects.stored())):
            check(partial(self._objects.verify, sha))
        strays = self._history.strays() + self._objects.strays()
        problems += [f"{path} does not belong there; remove it" for path in strays]
        return list(dict.fromkeys(problems))

    def _folders(self) -> tuple[Path, Path, Path]:
        return self.path, self._history.folder, self._objects.folder


def _size(path: Path) -> int:
    """Bytes of a file, or of the files directly in a folder."""
    entries = [path] if not path.is_dir() else list(path.iterdir())
    return sum(os.lstat(entry).st_size for entry in entries)
