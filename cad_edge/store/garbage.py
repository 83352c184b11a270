"""Garbage: what no kept version of a bundle needs, and what killed writers left."""

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

from cad_edge.errors import BundleError
from cad_edge.store.atomic_write import remove, size_of, sync_folder, temporary_in
from cad_edge.store.history import History
from cad_edge.store.objects import ObjectStore

PRIVATE = "cad-edge-copy-"
"""How the names of private copies of graphs begin; the process that made one follows."""

_ABANDONED = 3600.0  # seconds after which a copy whose process is not seen here is nobody's


@dataclass(frozen=True)
class GarbageReport:
    """What a garbage collection removed."""

    objects: tuple[str, ...]
    manifests: tuple[str, ...]
    bytes: int
    """Of objects, manifests, signatures and temporary files together."""


def kept_versions(history: History, newest: str, keep: int) -> set[str]:
    """Sha256 of the last ``keep`` versions, counted back from ``newest``."""
    return {sha for sha, _ in itertools.islice(history.back_from(newest), keep)}


def collect(
    bundle: Path, history: History, objects: ObjectStore, kept: set[str], signatures: list[Path]
) -> GarbageReport:
    """Delete what no version of ``kept`` needs; the caller holds the lock.

    Parameters
    ----------
    bundle, history, objects
        The folder and what lies in it.
    kept
        Sha256 of manifests.
    signatures
        Folders of statements about other versions.

    Raises
    ------
    BundleError
        The folders cannot be written to.
    """
    needed = {name for sha in kept for name in history.read(sha).objects()}
    manifests = tuple(sha for sha in history.stored() if sha not in kept)
    unused = tuple(sha for sha in objects.stored() if sha not in needed)
    doomed = [history.path(sha) for sha in manifests] + signatures
    folders = (bundle, history.folder, objects.folder, bundle / "signatures")
    doomed += temporary_in(folders)
    size = sum(size_of(path) for path in doomed)
    size += sum(size_of(objects.path(sha)) for sha in unused)
    # Manifests go first: killed in between, no manifest names an object that is gone.
    for path in doomed:
        remove(path)
    sync_folders(bundle, history.folder, objects.folder)
    for sha in unused:
        objects.discard(sha)
    return GarbageReport(unused, manifests, size)


def sync_folders(bundle: Path, *folders: Path) -> None:
    """Make the names in folders of a bundle durable; BundleError where that is refused."""
    try:
        for folder in folders:
            sync_folder(folder)
    except OSError as problem:
        raise BundleError(f"{bundle} cannot be written to: {problem.strerror}") from problem


def remove_abandoned(folder: Path) -> None:
    """Remove private copies that killed processes have left in ``folder``.

    A process of another container is not seen from this one, so that a copy has to be old as well:
    one is needed for seconds.
    """
    for path in folder.glob(f"{PRIVATE}*"):
        process = path.name.removeprefix(PRIVATE).partition("-")[0]
        try:
            old = time.time() - path.lstat().st_mtime > _ABANDONED
            if old and process.isdecimal() and not Path(f"/proc/{process}").exists():
                remove(path)
        except OSError:
            continue
