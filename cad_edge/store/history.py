"""The manifests of a bundle, each naming the version before by its sha256."""

from collections.abc import Iterator
from pathlib import Path

from cad_edge.errors import BundleError, CadEdgeError, IntegrityError
from cad_edge.schema import R, canonical_json, parse_object, sha256_of
from cad_edge.store.atomic_write import TEMPORARY, replace_file
from cad_edge.store.manifest import FORMAT, Manifest
from cad_edge.store.objects import is_sha256
from cad_edge.store.plain_file import RECORD_BYTES, read_plain
from cad_edge.store.unreadable import reading
from cad_edge.strict_json import NotStrictJson, read_json_object


class History:
    """The folder ``manifests`` of a bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha: str) -> Path:
        """File of a manifest, there or not; IntegrityError if ``sha`` is not a sha256."""
        if not is_sha256(sha):
            raise IntegrityError(f"{sha!r} is not the sha256 of a manifest in {self.folder}")
        return self.folder / f"{sha}.json"

    def read(self, sha: str) -> Manifest:
        """Manifest with this sha256.

        Raises
        ------
        IntegrityError
            It is missing, changed, or no plain file.
        BundleError
            It is of another format, or this process may or can not read it.
        """
        path = self.path(sha)
        with reading(path):
            data = read_plain(path, RECORD_BYTES)
        if sha256_of(data) != sha:
            raise IntegrityError(f"{path} is not what its sha256 says; copy the bundle again")
        return read_format(Manifest, data, path, BundleError)

    def write(self, manifest: Manifest) -> str:
        """Store a manifest durably and return its sha256; an equal one is left untouched."""
        try:
            data = canonical_json(manifest)
        except ValueError:
            raise BundleError(
                f"the manifest of {self.folder.parent} would hold a figure that is NaN or "
                "infinite; export again, with other options or in fp32"
            ) from None
        if len(data) > RECORD_BYTES:
            raise BundleError(
                f"the manifest of {self.folder.parent} would hold {len(data):,} bytes, and at most "
                f"{RECORD_BYTES:,} are read; put some of its tasks into another bundle"
            )
        sha = sha256_of(data)
        path = self.path(sha)
        if not _holds(path, data):
            replace_file(path, data)
        return sha

    def stored(self) -> list[str]:
        """Sha256 of every manifest in the folder, sorted."""
        with reading(self.folder):
            paths = list(self.folder.iterdir()) if self.folder.is_dir() else []
        return sorted(
            path.stem for path in paths if path.suffix == ".json" and is_sha256(path.stem)
        )

    def back_from(self, sha: str) -> Iterator[tuple[str, Manifest]]:
        """Walk from ``sha`` to the oldest version that garbage collection has left."""
        current: str | None = sha
        while current is not None:
            manifest = self.read(current)
            yield current, manifest
            older = manifest.previous
            current = older if older is not None and self.path(older).exists() else None

    def find(self, current: str, version: int | None) -> str:
        """Sha256 of the version to roll back to; None is the one before ``current``.

        Raises
        ------
        BundleError
            There is no such version, or several that ``current`` does not descend from.
        """
        if version is None:
            manifest = self.read(current)
            if manifest.previous is None:
                raise BundleError(
                    f"version {manifest.version} is the first of {self.folder.parent} and nothing "
                    "is before it; name a version if a rollback left one behind"
                )
            if not self.path(manifest.previous).exists():
                raise BundleError(
                    f"version {manifest.version - 1} was removed by `cad-edge gc`; "
                    "export it again to have it back"
                )
            return manifest.previous
        for sha, manifest in self.back_from(current):
            if manifest.version == version:
                return sha
        others = [sha for sha in self.stored() if self.read(sha).version == version]
        if len(others) == 1:
            return others[0]
        count = f"{len(others)} versions" if others else "no version"
        known = sorted({self.read(sha).version for sha in self.stored()})
        raise BundleError(
            f"{self.folder.parent} holds {count} with the number {version}; it holds "
            f"{', '.join(map(str, known))}"
        )

    def check(self, sha: str) -> Manifest:
        """Read a manifest and verify that its number follows from the version before."""
        manifest = self.read(sha)
        before = 0
        if manifest.previous is not None:
            known = self.path(manifest.previous).exists()
            before = self.read(manifest.previous).version if known else manifest.version - 1
        if manifest.version != before + 1:
            raise IntegrityError(
                f"{self.path(sha)} says version {manifest.version} but follows version {before}"
            )
        return manifest

    def strays(self) -> list[Path]:
        """Entries that are neither manifests nor temporary files."""
        if not self.folder.is_dir():
            return []
        known = {f"{sha}.json" for sha in self.stored()}
        with reading(self.folder):
            paths = [path for path in self.folder.iterdir() if path.name not in known]
        return sorted(path for path in paths if not path.name.startswith(TEMPORARY))


def _holds(path: Path, data: bytes) -> bool:
    try:
        return read_plain(path, len(data)) == data
    except OSError:
        return False


def read_format(model: type[R], data: bytes, path: Path, error: type[CadEdgeError]) -> R:
    """Read a record of a bundle, telling another format version apart from a broken file."""
    try:
        content = read_json_object(data)
    except NotStrictJson as problem:
        raise error(f"{path} {problem}; copy or export the bundle again") from None
    found = content.get("format", FORMAT)
    if type(found) is not int or found != FORMAT:  # True == 1 == 1.0
        raise error(f"{path} has format {found!r}, this version reads format {FORMAT}; update it")
    return parse_object(model, content, str(path), error)
