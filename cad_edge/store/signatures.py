"""The folder ``signatures`` of a bundle: statements about its versions.

    signatures/<sha256>/statement.json    what is said, and signed byte for byte
                        statement.sig     64 bytes, Ed25519

Each is stored as objects are, under the sha256 of what it holds, and ``bundle.json`` names the one
that counts; a version and its signature therefore come into force in one step.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cad_edge.errors import IntegrityError, TrustError
from cad_edge.schema import canonical_json
from cad_edge.store.objects import ObjectStore
from cad_edge.store.signature import PublicKey, Signer, Statement, parse_statement
from cad_edge.store.trust import Signed

_STATEMENT, _SIGNATURE = "statement.json", "statement.sig"
_LARGEST = 1 << 16  # bytes of both, which take a few hundred


class Signatures:
    """Statements of one bundle."""

    def __init__(self, folder: Path) -> None:
        self.store = ObjectStore(folder)

    def read(self, sha: str) -> Signed:
        """Statement and signature; IntegrityError unless they are as they were stored."""
        files = self.store.read(sha, _LARGEST)
        if files.keys() != {_STATEMENT, _SIGNATURE}:
            raise IntegrityError(f"{self.store.path(sha)} is no signature; copy the bundle again")
        return files[_STATEMENT], files[_SIGNATURE]

    def statement(self, sha: str) -> Statement:
        """Return what a stored statement says, whoever has signed it."""
        return parse_statement(self.read(sha)[0], str(self.store.path(sha)))

    def add(
        self,
        manifest: str,
        version: int,
        signer: Signer,
        bundle: str | None,
        after: datetime | None,
    ) -> str:
        """Sign a version and store the statement; return its name.

        Parameters
        ----------
        manifest
            sha256 of the manifest.
        version
            Its number.
        signer
            Who signs.
        bundle
            The bundle's name; None: it gets one.
        after
            When the newest statement about the bundle was issued. A clock that was set back must
            not make a version look older than the one before.
        """
        issued = datetime.now(timezone.utc)
        if after is not None:
            issued = max(issued, after + timedelta(microseconds=1))
        statement = Statement(
            bundle=bundle or secrets.token_hex(16),
            manifest=manifest,
            version=version,
            issued=issued,
            expires=signer.expires,
            key=signer.public.id,
        )
        data = canonical_json(statement)
        return self.store.add({_STATEMENT: data, _SIGNATURE: signer.sign(data)})

    def verified(self, keys: Sequence[PublicKey] | None) -> list[tuple[str, Statement]]:
        """Name and words of every statement that one of ``keys`` has signed; None: whoever has."""
        known = {key.id: key for key in keys or ()}
        found = []
        for sha in self.store.stored():
            try:
                data, signature = self.read(sha)
                statement = parse_statement(data, str(self.store.path(sha)))
            except (IntegrityError, TrustError):
                continue  # damaged, or no statement: `verify` names it
            key = known.get(statement.key)
            if keys is None or (key is not None and key.verifies(data, signature)):
                found.append((sha, statement))
        return found

    def other_than(self, manifests: set[str], kept: str | None) -> list[Path]:
        """Folders of the statements about other manifests than these; never that of ``kept``."""
        doomed = [sha for sha, one in self.verified(None) if one.manifest not in manifests]
        return [self.store.path(sha) for sha in doomed if sha != kept]


def unsigned_note(version: int) -> str:
    """Say what an unsigned version of a signed bundle means."""
    return (
        f"version {version} is unsigned: devices that check signatures stay at the version before; "
        "sign it by `cad-edge sign`"
    )


def valid_until(expires: datetime | None) -> str:
    """Say until when a signature is accepted."""
    return f"until {expires:%Y-%m-%d %H:%M} UTC" if expires else "for ever"


def lost_expiry_notes(before: Statement | None, signer: Signer | None, version: int) -> list[str]:
    """Say that a version is signed for ever where the one before it, ``before``, was not."""
    if before is None or before.expires is None or signer is None or signer.expires is not None:
        return []
    return [
        f"version {version} is signed for ever, and the one before was "
        f"{valid_until(before.expires)}; if it is to expire, sign it by `cad-edge sign --expires`"
    ]
