"""The newest version of each bundle that this device has opened: older ones are replays.

Kept outside of the bundle, in a folder of the user's: CAD_EDGE_STATE, else XDG_STATE_HOME or
``~/.local/state``, each with ``cad-edge`` below. It holds empty files alone, whose names say all:

    seen/<bundle>/<time of issue>        a version that was opened
    places/<sha256 of the path>/<bundle> which bundle lies at a path

A file is there or not, so that any number of processes may add to it without a lock.
"""

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from cad_edge.errors import TrustError
from cad_edge.schema import sha256_of
from cad_edge.store.atomic_write import ensure_folder, sync_folder
from cad_edge.store.signature import Statement

STATE = "CAD_EDGE_STATE"
_TIME = "%Y%m%dT%H%M%S.%fZ"


class SeenVersions:
    """What a device remembers of bundles.

    Parameters
    ----------
    folder
        Where; made when something is first remembered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def require_newest(self, statement: Statement, place: Path) -> None:
        """Raise TrustError where a later version was seen, or another bundle at this place."""
        newest = max(self._issued(statement.bundle), default=None)
        if newest is not None and statement.issued < newest:
            raise TrustError(
                f"version {statement.version} of {place} was signed "
                f"{statement.issued:%Y-%m-%d %H:%M:%S} UTC, before one that this machine has "
                f"opened or signed ({newest:%Y-%m-%d %H:%M:%S}); sign it again (`cad-edge rollback "
                f"--to {statement.version} --sign`), or permit it here (`cad-edge rollback --to "
                f"{statement.version} --allow-older`)"
            )
        self.require_place(statement, place)

    def require_place(self, statement: Statement, place: Path) -> None:
        """Raise TrustError where another bundle was seen at this place."""
        known = self._names(self._place(place))
        if known and statement.bundle not in known:
            raise TrustError(
                f"{place} holds another bundle than the one that this machine has opened or signed "
                f"there; if that is meant, remove the folder {self._place(place)}"
            )

    def remember(self, statement: Statement, place: Path) -> None:
        """Note that a version was opened.

        Raises
        ------
        TrustError
            It cannot be noted, so that a replay would not be found.
        """
        self._add(self._place(place), statement.bundle)
        seen = self.folder / "seen" / statement.bundle
        self._add(seen, _name(statement.issued))
        for older in self._issued(statement.bundle):
            if older < statement.issued:
                (seen / _name(older)).unlink(missing_ok=True)

    def allow(self, statement: Statement) -> None:
        """Forget every version that is newer than the one of ``statement``."""
        seen = self.folder / "seen" / statement.bundle
        self._add(seen, _name(statement.issued))
        for found in self._issued(statement.bundle):
            if found > statement.issued:
                (seen / _name(found)).unlink(missing_ok=True)

    def _place(self, place: Path) -> Path:
        # Links are not followed: whoever can turn one must not escape what is known of its name.
        return self.folder / "places" / sha256_of(os.fsencode(place.absolute()))

    def _issued(self, bundle: str) -> list[datetime]:
        return [_time(name) for name in self._names(self.folder / "seen" / bundle)]

    def _names(self, folder: Path) -> list[str]:
        try:
            return [path.name for path in folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise self._unusable(problem) from None

    def _add(self, folder: Path, name: str) -> None:
        if (folder / name).exists():
            return
        try:
            ensure_folder(folder)
            (folder / name).touch(mode=0o600)
            sync_folder(folder)
        except OSError as problem:
            raise self._unusable(problem) from None

    def _unusable(self, problem: OSError) -> TrustError:
        return TrustError(
            f"{self.folder}, where this machine notes the newest version of a signed bundle, "
            f"cannot be used ({problem.strerror}); set {STATE} to a folder of your own"
        )


def state_folder(environment: Mapping[str, str]) -> Path:
    """Return where a device notes what it has seen."""
    if named := environment.get(STATE):
        return Path(named).absolute()
    try:
        home = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:  # a user without a home, as in a container
        raise TrustError(
            "there is no home folder in which to note the newest version of a signed bundle; set "
            f"{STATE} to a folder of your own"
        ) from None
    return (Path(home) / "cad-edge").absolute()


def _name(issued: datetime) -> str:
    return issued.astimezone(timezone.utc).strftime(_TIME)


def _time(name: str) -> datetime:
    try:
        return datetime.strptime(name, _TIME).replace(tzinfo=timezone.utc)
    except ValueError:
        raise TrustError(
            f"{name!r} among the versions that this device has seen is not a time; remove that file"
        ) from None
