"""Vouching: what a command may sign, and which signature an older version comes back with.

A signature stands for everything in a version, so what it builds on has to be signed as well, by
the same key or by one that is trusted. Nothing is taken from a statement before its signature was
verified: neither the bundle's name, nor when it was issued, nor that there is one at all.
"""

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from cad_edge.errors import BundleError, OptionError, TrustError
from cad_edge.store.history import History
from cad_edge.store.manifest import Pointer
from cad_edge.store.pointer import about
from cad_edge.store.seen_versions import SeenVersions, state_folder
from cad_edge.store.signature import PublicKey, Signer, Statement, require_signed
from cad_edge.store.signatures import Signatures
from cad_edge.store.trust import Trust


class Vouching:
    """What may be signed, or put in force as it was signed, in the bundle in ``folder``."""

    def __init__(
        self, folder: Path, signatures: Signatures, history: History, trust: Trust | None
    ) -> None:
        self._folder = folder
        self._signatures = signatures
        self._history = history
        self._trust = trust

    def require(self, signer: Signer | None, base: Pointer | None) -> Statement | None:
        """Refuse to add what would not be accepted, or to vouch for what others wrote.

        Parameters
        ----------
        signer
            Who signs; None: nobody.
        base
            The version that is built on; None: there is none yet.

        Returns
        -------
        Statement
            What was signed about ``base``; None without a signer or a base.

        Raises
        ------
        TrustError
            Signed versions alone are accepted here and ``signer`` is missing or not trusted; or
            ``base`` is unsigned, signed by another, expired, or older than one that this machine
            has signed or opened.
        """
        self._require_trusted(signer)
        if signer is None or base is None:
            return None
        name = f"version {base.version} of {self._folder}"
        if base.signature is None:
            raise _unsigned(name)
        signed = self._signatures.read(base.signature)
        found = require_signed(*signed, self._keys(signer), f"the signature of {name}")
        about(base, found, self._folder)
        if found.expires is not None and found.expires <= datetime.now(timezone.utc):
            raise TrustError(
                f"the signature of {name} has expired, and a new one would vouch for it; look at "
                "it (`cad-edge verify --open`), then sign it by `cad-edge sign`"
            )
        self._seen().require_newest(found, self._folder)
        return found

    def require_older(self, signer: Signer, older: Pointer) -> Statement:
        """Return what was signed about an older version that is to be signed again.

        Raises
        ------
        TrustError
            Nobody whose word ``signer`` can take has signed it, or ``signer`` is not trusted here.
        """
        self._require_trusted(signer)
        found = self._about(older.manifest, self._keys(signer))
        if found is None:
            raise _unsigned(f"version {older.version} of {self._folder}")
        return found[1]

    def sign(self, pointer: Pointer, signer: Signer, before: Statement | None) -> Pointer:
        """Store a statement about a version, and return the pointer that names it.

        Parameters
        ----------
        pointer
            To the version.
        signer
            Who signs.
        before
            A verified statement about the same bundle; None: it gets a name of its own.
        """
        valid = self._signatures.verified(self._keys(signer))
        same = [one.issued for _, one in valid if before and one.bundle == before.bundle]
        name = self._signatures.add(
            pointer.manifest,
            pointer.version,
            signer,
            before.bundle if before else None,
            max(same, default=None),
        )
        return pointer.model_copy(update={"signature": name})

    def signed(self, pointer: Pointer) -> None:
        """Note on this machine that a version was signed, so that none before is built on again."""
        if pointer.signature is not None:
            statement = self._signatures.statement(pointer.signature)
            self._seen().remember(statement, self._folder)

    def nearest(self, pointer: Pointer, signer: Signer) -> Statement | None:
        """Return the statement that gives a version its bundle's name: its own, or an ancestor's.

        By a key that is known here; where its own is by another, as after a change of keys, that
        one's name is taken all the same, since `sign` vouches for what lies there.
        """
        keys = self._keys(signer)
        for sha, _ in self._history.back_from(pointer.manifest):
            if (found := self._about(sha, keys)) is not None:
                return found[1]
        try:
            own = pointer.signature and self._signatures.statement(pointer.signature)
        except BundleError:
            return None
        return own or None

    def older(self, pointer: Pointer, allow_older: bool) -> Pointer:
        """Return the pointer to an older version with the newest statement that was made about it.

        Parameters
        ----------
        pointer
            To the older version.
        allow_older
            Whether this device may open it though it has opened newer ones.

        Raises
        ------
        TrustError
            This device would refuse it.
        OptionError
            ``allow_older`` where signatures are not looked at.
        """
        if self._trust is None:
            if allow_older:
                raise OptionError(
                    "--allow-older is for devices that check signatures; give --trusted-key as "
                    "well, or leave it out"
                )
            newest = self._about(pointer.manifest, None)
            return pointer.model_copy(update={"signature": newest and newest[0]})
        found = self._about(pointer.manifest, self._trust.keys)
        if found is None:
            raise TrustError(
                f"version {pointer.version} of {self._folder} was signed by nobody whom this "
                "device trusts; sign it (--sign), or choose another version"
            )
        name, statement = found
        self._trust.require_current(statement, self._folder)
        if allow_older:
            self._trust.seen.require_place(statement, self._folder)
        else:
            self._trust.seen.require_newest(statement, self._folder)
        return pointer.model_copy(update={"signature": name})

    def allow(self, pointer: Pointer) -> None:
        """Forget on this device every version that was signed after this one."""
        if self._trust is not None and pointer.signature is not None:
            self._trust.seen.allow(self._signatures.statement(pointer.signature))

    def _require_trusted(self, signer: Signer | None) -> None:
        if self._trust is None:
            return
        if signer is None:
            raise TrustError(
                f"only signed versions of {self._folder} are accepted here; give --sign with "
                "the private key"
            )
        if signer.public.id not in {key.id for key in self._trust.keys}:
            raise TrustError(
                "the key of --sign is not among the trusted ones, so that this device would "
                "refuse what it signs; trust its public key, too"
            )

    def _about(
        self, manifest: str, keys: Sequence[PublicKey] | None
    ) -> tuple[str, Statement] | None:
        """Name and words of the newest statement about a manifest by one of ``keys``, or by any."""
        known = self._signatures.verified(keys)
        found = [(one.issued, name, one) for name, one in known if one.manifest == manifest]
        return max(found)[1:] if found else None

    def _keys(self, signer: Signer) -> list[PublicKey]:
        return [signer.public, *(self._trust.keys if self._trust else ())]

    def _seen(self) -> SeenVersions:
        return self._trust.seen if self._trust else SeenVersions(state_folder(os.environ))


def _unsigned(name: str) -> TrustError:
    return TrustError(
        f"{name} is unsigned, and a signature now would vouch for it; look at it "
        "(`cad-edge verify --open`), then sign it by `cad-edge sign`"
    )
