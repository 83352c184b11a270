"""The bundle: every engine that a device opens, as immutable objects and one pointer.

    bundle.json               the Pointer: which manifest is in force; replaced atomically
    manifests/<sha256>.json   one version each, naming the version before as ``previous``
    objects/<sha256>/...      see cad_edge.store.objects
    signatures/<sha256>/...   see cad_edge.store.signatures
    .lock                     held by the one process that writes

A version is visible when ``bundle.json`` names it, and by then everything it needs is on the disk:
killed at any moment, a bundle opens as before or as after.

A version's number is its place in its own history: 1 + that of ``previous``. Rolling back points to
an older manifest and changes nothing else, so the next commit builds on that one and counts on from
it. The versions left behind stay, and ``rollback(version)`` finds them, until garbage collection;
two histories may use one number, the sha256 of the manifest tells them apart.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from cad_edge.errors import BundleError, IntegrityError
from cad_edge.store.garbage import (
    PRIVATE,
    GarbageReport,
    collect,
    kept_versions,
    remove_abandoned,
    sync_folders,
)
from cad_edge.store.history import History
from cad_edge.store.lock import WriterLock
from cad_edge.store.manifest import Manifest, Pointer
from cad_edge.store.objects import ObjectStore
from cad_edge.store.pointer import PointerFile
from cad_edge.store.signature import Signer, Statement
from cad_edge.store.trust import trust_of
from cad_edge.store.vouching import Vouching


class Bundle:
    """A bundle folder, which need not exist yet. Reading needs no lock and writes nothing.

    Parameters
    ----------
    path
        The folder.
    trusted_keys
        Files or folders of the public keys whose signatures are accepted; None: those that
        CAD_EDGE_TRUSTED_KEYS names, and without it signatures are not looked at.

    Raises
    ------
    OptionError
        Keys are named and cannot be read.
    """

    def __init__(self, path: Path, trusted_keys: Sequence[Path | str] | None = None) -> None:
        self.path = Path(path)
        trust = trust_of(trusted_keys)
        self.checks_signatures = trust is not None
        """Whether keys are trusted, so that unsigned versions are refused."""
        self._pointer = PointerFile(self.path, trust)
        self._objects = ObjectStore(self.path / "objects")
        self._history = History(self.path / "manifests")
        self._signatures = self._pointer.signatures.store
        self._lock = WriterLock(self.path / ".lock")
        self._vouching = Vouching(self.path, self._pointer.signatures, self._history, trust)

    def exists(self) -> bool:
        """Whether a version is in force."""
        return self._pointer.exists()

    def pointer(self, trusted: bool = True) -> Pointer:
        """Return the version in force.

        Parameters
        ----------
        trusted
            False: whoever has signed it.

        Raises
        ------
        BundleError
            The folder holds none or it cannot be read.
        TrustError
            Keys are trusted, and it is unsigned, signed by another, expired, or older than one that
            this device has opened.
        """
        return self._pointer.read() if trusted else self._pointer.read_untrusted()

    def remember(self, pointer: Pointer) -> None:
        """Note that a version was opened here; nothing where no keys are trusted.

        Raises
        ------
        TrustError
            It cannot be noted.
        """
        self._pointer.remember(pointer)

    def statement(self) -> Statement | None:
        """Return what was signed about the version in force; None where it is unsigned.

        Whoever has signed it: `pointer` is what judges.
        """
        signature = self.pointer(trusted=False).signature
        return None if signature is None else self._pointer.signatures.statement(signature)

    def manifest(self, which: Pointer | str | None = None) -> Manifest:
        """Manifest in force, the one that a pointer names, or the one with this sha256.

        Raises
        ------
        IntegrityError
            The file is missing, is not what its sha256 says, or has another version than its
            pointer.
        BundleError
            There is no bundle, or the manifest is of a format that this version does not read.
        """
        if isinstance(which, str):
            return self._history.read(which)
        pointer = self.pointer() if which is None else which
        manifest = self._history.read(pointer.manifest)
        if manifest.version != pointer.version:
            raise IntegrityError(
                f"{self.path / 'bundle.json'} names version {pointer.version}, but its manifest is "
                f"version {manifest.version}; copy the bundle again"
            )
        return manifest

    def read_object(self, sha: str) -> dict[str, bytes]:
        """Bytes of every file of an object by name; IntegrityError unless all are as written."""
        return self._objects.read(sha)

    def object_folder(self, sha: str) -> Path:
        """Folder of an object, unverified; IntegrityError if ``sha`` is not a sha256."""
        return self._objects.path(sha)

    def object_folders(self) -> list[Path]:
        """Folders of every object, unverified; BundleError where they cannot be listed."""
        return [self._objects.path(sha) for sha in self._objects.stored()]

    def verify_object(self, sha: str) -> Path:
        """Folder of an object after hashing all of it; IntegrityError unless it is as written."""
        return self._objects.verify(sha)

    @contextmanager
    def private_copy(self, sha: str) -> Iterator[Path]:
        """Give a verified copy of an object, for a block, that only this user may write.

        Whoever can write the bundle could exchange a file between its hash and its use.

        Raises
        ------
        IntegrityError
            The files are not what ``sha`` says.
        BundleError
            There is no room for the copy.
        """
        with ExitStack() as stack:
            try:
                remove_abandoned(Path(tempfile.gettempdir()))
                made = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix=f"{PRIVATE}{os.getpid()}-")
                )
                self._objects.copy(sha, Path(made))
            except OSError as problem:
                raise BundleError(
                    f"a graph of {self.path} cannot be copied to {tempfile.gettempdir()} "
                    f"({problem.strerror}), from where it is loaded as long as signatures are "
                    "checked; make room, or set TMPDIR"
                ) from None
            yield Path(made)

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

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other writers for a block.

        Raises
        ------
        BundleLocked
            There is one.
        BundleError
            One of the bundle's folders is a link, by which its files would be written elsewhere.
        """
        for folder in (self._objects.folder, self._history.folder, self._signatures.folder):
            if folder.is_symlink():
                raise BundleError(
                    f"{folder} is a symbolic link, and a bundle is written to within its own "
                    "folder; copy what it leads to"
                )
        with self._lock.hold():
            yield

    def require_signer(self, signer: Signer | None) -> None:
        """Raise what `commit` raises about signatures, before there is anything to commit."""
        self._vouching.require(signer, self.pointer(trusted=False) if self.exists() else None)

    def commit(self, manifest: Manifest, signer: Signer | None = None) -> Pointer:
        """Put a new version in force, signed if there is a signer; the caller holds the lock.

        Raises
        ------
        BundleError
            The lock is not held, the version is not the next one, or the disk refused.
        IntegrityError
            An object that the manifest names is not in the bundle.
        TrustError
            It would not be accepted here, or ``signer`` would vouch for what nobody signed.
        """
        if not self._lock.held:
            raise BundleError(f"{self.path} must be locked for a commit; use `with bundle.lock()`")
        # Read once: what is vouched for has to be the very version that this one names as previous.
        base = self.pointer(trusted=False) if self.exists() else None
        self._check_next(manifest, base)
        before = self._vouching.require(signer, base)
        for name in sorted(manifest.objects()):
            if not self._objects.holds(name):
                raise IntegrityError(f"{self._objects.path(name)} is missing; add it before commit")
        pointer = Pointer(manifest=self._history.write(manifest), version=manifest.version)
        return self._put_in_force(pointer, signer, before)

    def sign(self, signer: Signer) -> Pointer:
        """Sign the version in force, whoever has signed it before, after verifying all of it.

        Raises
        ------
        IntegrityError
            A byte of it is not what the manifest says.
        """
        self.pointer(trusted=False)
        with self.lock():
            pointer = self.pointer(trusted=False)
            for name in sorted(self.manifest(pointer).objects()):
                self.verify_object(name)
            return self._put_in_force(pointer, signer, self._vouching.nearest(pointer, signer))

    def _check_next(self, manifest: Manifest, base: Pointer | None) -> None:
        version = base.version + 1 if base else 1
        previous = base.manifest if base else None
        if (manifest.version, manifest.previous) != (version, previous):
            raise BundleError(
                f"{self.path} expects version {version} after {previous}, not version "
                f"{manifest.version} after {manifest.previous}; export again"
            )

    def _put_in_force(
        self, pointer: Pointer, signer: Signer | None = None, before: Statement | None = None
    ) -> Pointer:
        # An object or manifest that a killed writer had renamed is shared without being written
        # again, so its name may not be durable yet.
        sync_folders(self.path, self._objects.folder, self._history.folder)
        if signer is not None:
            pointer = self._vouching.sign(pointer, signer, before)
        self._pointer.write(pointer)
        if signer is not None:
            self._vouching.signed(pointer)
        return pointer

    def rollback(
        self, version: int | None = None, signer: Signer | None = None, allow_older: bool = False
    ) -> Pointer:
        """Put an older version in force again, after verifying everything that it needs.

        Parameters
        ----------
        version
            None: the one before. A version that an earlier rollback left behind can be named too,
            unless several histories hold that number.
        signer
            Signs it again, so that every device takes it; without, it has the signature it had.
        allow_older
            Whether this device, which refuses versions older than the newest it has opened, may
            open this one.

        Raises
        ------
        BundleError, IntegrityError
            There is no such version, or something of it is missing or changed.
        TrustError
            This device would not accept it.
        """
        self.pointer(trusted=False)
        with self.lock():
            sha = self._history.find(self.pointer(trusted=False).manifest, version)
            manifest = self._history.read(sha)
            for name in sorted(manifest.objects()):
                self.verify_object(name)
            pointer = Pointer(manifest=sha, version=manifest.version)
            if signer is not None:
                before = self._vouching.require_older(signer, pointer)
                return self._put_in_force(pointer, signer, before)
            pointer = self._put_in_force(self._vouching.older(pointer, allow_older))
            if allow_older:
                self._vouching.allow(pointer)
            return pointer

    def collect_garbage(self, keep: int = 2) -> GarbageReport:
        """Delete what none of the last ``keep`` versions needs, and stale temporary files.

        The versions are counted back from the one in force along ``previous``; one that a rollback
        left behind goes. Nobody may be adding objects outside the lock meanwhile.
        """
        if keep < 1:
            raise BundleError("garbage collection must keep at least 1 version")
        self.pointer()
        with self.lock():
            pointer = self.pointer()
            kept = kept_versions(self._history, pointer.manifest, keep)
            signatures = self._pointer.signatures.other_than(kept, pointer.signature)
            return collect(self.path, self._history, self._objects, kept, signatures)

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
        check(self._pointer.require_statement)
        signatures = self._signatures
        for sha in signatures.stored():
            check(partial(signatures.verify, sha))
        for sha in self._history.stored():
            check(partial(self._history.check, sha))
        for sha in sorted(named.union(self._objects.stored())):
            check(partial(self._objects.verify, sha))
        strays = self._history.strays() + self._objects.strays() + signatures.strays()
        problems += [f"{path} does not belong there; remove it" for path in strays]
        return list(dict.fromkeys(problems))
