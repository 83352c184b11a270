"""``bundle.json``: the version in force, and whether this device accepts it."""

import os
from pathlib import Path

from cad_edge.errors import BundleError, TrustError
from cad_edge.schema import canonical_json
from cad_edge.store.atomic_write import replace_file
from cad_edge.store.history import read_format
from cad_edge.store.manifest import Pointer
from cad_edge.store.plain_file import read_plain
from cad_edge.store.signature import Signer, Statement, require_signed
from cad_edge.store.signatures import Signatures
from cad_edge.store.trust import Signed, Trust
from cad_edge.store.unreadable import words_of

MAXIMUM_BYTES = 1 << 16
"""Of ``bundle.json``, which takes a few hundred."""


class PointerFile:
    """The pointer of the bundle in ``folder``.

    Parameters
    ----------
    folder
        The bundle.
    trust
        What the version in force is judged by; None: signatures are not looked at.
    """

    def __init__(self, folder: Path, trust: Trust | None) -> None:
        self._folder = folder
        self._path = folder / "bundle.json"
        self._trust = trust
        self.signatures = Signatures(folder / "signatures")

    @property
    def trusted(self) -> bool:
        """Whether signatures are looked at."""
        return self._trust is not None

    def exists(self) -> bool:
        """Whether a version is in force, or something stands in its place that is to be refused."""
        return os.path.lexists(self._path)

    def read(self) -> Pointer:
        """Version in force; BundleError if it cannot be read, TrustError if it is not accepted."""
        pointer = self.read_untrusted()
        if self._trust is not None:
            self._accepted(pointer, self._trust)
        return pointer

    def read_untrusted(self) -> Pointer:
        """Version in force, whoever has signed it."""
        try:
            data = read_plain(self._path, MAXIMUM_BYTES, follow=True)
        except (FileNotFoundError, NotADirectoryError):
            reason = "it is a file" if self._folder.is_file() else "it has no bundle.json"
            raise BundleError(
                f"{self._folder} is not a bundle ({reason}); "
                "give the folder that `cad-edge export` wrote"
            ) from None
        except OSError as problem:
            raise BundleError(f"{self._path} cannot be read: {words_of(problem)}") from None
        return read_format(Pointer, data, self._path, BundleError)

    def write(self, pointer: Pointer) -> None:
        """Put a version in force; a reader sees the one before or this one."""
        replace_file(self._path, canonical_json(pointer))

    def remember(self, pointer: Pointer) -> None:
        """Note that a version was opened on this device, so that older ones are refused.

        Raises
        ------
        TrustError
            It cannot be noted.
        """
        if self._trust is not None:
            self._trust.seen.remember(self._accepted(pointer, self._trust), self._folder)

    def _accepted(self, pointer: Pointer, trust: Trust) -> Statement:
        signed = self._signed(pointer)
        return _about(pointer, trust.require(signed, self._folder, pointer.version), self._folder)

    def _signed(self, pointer: Pointer) -> Signed | None:
        return None if pointer.signature is None else self.signatures.read(pointer.signature)

    def require_signer(self, signer: Signer | None, base: Pointer | None) -> None:
        """Refuse to add to a bundle what would not be accepted, or to vouch for what others wrote.

        Parameters
        ----------
        signer
            Who signs; None: nobody.
        base
            What the signature would vouch for besides: the version that is built on.

        Raises
        ------
        TrustError
            Signed versions alone are accepted here and ``signer`` is missing or not trusted; or
            nobody whom ``signer`` can take the word of has signed ``base``.
        """
        if self._trust is not None:
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
        if signer is not None and base is not None:
            self._require_signed(base, signer)

    def _require_signed(self, base: Pointer, signer: Signer) -> None:
        about = self.signatures.about(base.manifest)
        name = f"version {base.version} of {self._folder}"
        if about is None:
            raise TrustError(
                f"{name} is unsigned, and a signature now would vouch for it; look at it "
                "(`cad-edge verify --open`), then sign it by `cad-edge sign`"
            )
        keys = [signer.public, *(self._trust.keys if self._trust else ())]
        signed = self.signatures.read(about)
        statement = require_signed(*signed, keys, f"the signature of {name}")
        _about(base, statement, self._folder)

    def sign(self, pointer: Pointer, signer: Signer) -> Pointer:
        """Return the pointer with a new statement about its version, which is stored."""
        known = self.read_untrusted().signature if self.exists() else None
        before = None if known is None else self.signatures.statement(known)
        name = self.signatures.add(pointer.manifest, pointer.version, signer, before)
        return pointer.model_copy(update={"signature": name})

    def older(self, pointer: Pointer, allow_older: bool) -> Pointer:
        """Return the pointer to an older version with the newest statement that was made about it.

        Parameters
        ----------
        pointer
            To the older version.
        allow_older
            Whether the device forgets that it has opened newer ones.

        Raises
        ------
        TrustError
            This device would refuse it.
        """
        signed = pointer.model_copy(update={"signature": self.signatures.about(pointer.manifest)})
        if self._trust is None:
            return signed
        if allow_older:
            statement = self._trust.require_signed(
                self._signed(signed), self._folder, pointer.version
            )
            self._trust.seen.allow(_about(signed, statement, self._folder))
        self._accepted(signed, self._trust)
        return signed


def _about(pointer: Pointer, statement: Statement, folder: Path) -> Statement:
    """Return the statement if it is about the version that the pointer names."""
    if (statement.manifest, statement.version) != (pointer.manifest, pointer.version):
        raise TrustError(
            f"{folder / 'bundle.json'} names version {pointer.version}, but its signature is about "
            f"another (version {statement.version}); copy the bundle again"
        )
    return statement
