"""Trust: whose signatures a device accepts, and how it finds an old version that is shown again."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cad_edge.errors import OptionError, TrustError
from cad_edge.store.seen_versions import SeenVersions, state_folder
from cad_edge.store.signature import PublicKey, Statement, read_public_keys, require_signed

TRUSTED_KEYS = "CAD_EDGE_TRUSTED_KEYS"
"""Environment variable with files or folders of public keys, separated as in PATH."""

Signed = tuple[bytes, bytes]
"""A statement and its signature, as they lie in a bundle."""


@dataclass(frozen=True)
class Trust:
    """Whose signatures count on this device."""

    keys: tuple[PublicKey, ...]
    seen: SeenVersions

    def require(self, signed: Signed | None, place: Path, version: int) -> Statement:
        """Read the statement about the version in force of the bundle at ``place``.

        Raises
        ------
        TrustError
            It is unsigned, signed by nobody trusted, expired, or older than one seen here.
        """
        if signed is None:
            raise TrustError(
                f"version {version} of {place} is unsigned, and only signed versions are accepted "
                "here; sign it by `cad-edge sign`"
            )
        source = f"the signature of version {version} of {place}"
        statement = require_signed(*signed, self.keys, source)
        self.require_current(statement, place)
        self.seen.require_newest(statement, place)
        return statement

    def require_current(self, statement: Statement, place: Path) -> None:
        """Raise TrustError where a statement has expired."""
        expires = statement.expires
        if expires is not None and expires <= datetime.now(timezone.utc):
            raise TrustError(
                f"the signature of version {statement.version} of {place} expired on "
                f"{expires:%Y-%m-%d %H:%M:%S} UTC; sign it again by `cad-edge sign`"
            )


def trust_of(
    trusted_keys: Sequence[Path | str] | None, environment: Mapping[str, str] = os.environ
) -> Trust | None:
    """Make what a bundle is judged by.

    Parameters
    ----------
    trusted_keys
        Files or folders of public keys; None: those of CAD_EDGE_TRUSTED_KEYS.
    environment
        Of the process.

    Returns
    -------
    Trust
        None where no keys are named, so that signatures are not looked at.

    Raises
    ------
    OptionError
        Keys are named and there is none: a list that was lost must not switch the check off.
    """
    named = trusted_keys
    if named is None:
        if TRUSTED_KEYS not in environment:
            return None
        named = [one for one in environment[TRUSTED_KEYS].split(os.pathsep) if one]
    elif isinstance(named, str | bytes) or not isinstance(named, Sequence):
        raise OptionError(f"trusted_keys is one {type(named).__name__}; give a list of paths")
    if not named:
        raise OptionError(
            f"trusted keys are asked for, but none is named; name a PEM file, or unset "
            f"{TRUSTED_KEYS}"
        )
    for one in named:
        if not (isinstance(one, str | Path) and str(one)):
            raise OptionError(
                f"trusted keys hold {one!r:.60}, which is not the path of a PEM file; name one"
            )
    keys = [key for place in named for key in read_public_keys(Path(place))]
    return Trust(tuple(keys), SeenVersions(state_folder(environment)))


@contextmanager
def ignoring_trusted_keys() -> Iterator[None]:
    """Open, for a block, what nobody has signed: bundles that a command makes to measure them."""
    named = os.environ.pop(TRUSTED_KEYS, None)
    try:
        yield
    finally:
        if named is not None:
            os.environ[TRUSTED_KEYS] = named
