"""``bundle.json``: the version in force, and whether this device accepts it."""

import os
from pathlib import Path

from cad_edge.errors import BundleError, TrustError
from cad_edge.schema import canonical_json
from cad_edge.store.atomic_write import replace_file
from cad_edge.store.history import read_format
from cad_edge.store.manifest import Pointer
from cad_edge.store.plain_file import read_plain
from cad_edge.store.signature import Statement
from cad_edge.store.signatures import Signatures
from cad_edge.store.trust import Trust
from cad_edge.store.unreadable import advice_about, words_of

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
            advice = advice_about(problem) or "copy the bundle again"
            raise BundleError(
                f"{self._path} cannot be read: {words_of(problem)}; {advice}"
            ) from None
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

    def require_statement(self) -> Path:
        """Return the folder of the statement about the version in force, or that of the bundle.

        Raises
        ------
        BundleError
            A statement is named that is not there, cannot be read, or is about something else.
        """
        pointer = self.read_untrusted()
        if pointer.signature is not None:
            about(pointer, self.signatures.statement(pointer.signature), self._folder)
        return self._folder

    def _accepted(self, pointer: Pointer, trust: Trust) -> Statement:
        signed = None if pointer.signature is None else self.signatures.read(pointer.signature)
        return about(pointer, trust.require(signed, self._folder, pointer.version), self._folder)


def about(pointer: Pointer, statement: Statement, folder: Path) -> Statement:
    """Return the statement if it is about the version that the pointer names; else TrustError."""
    if (statement.manifest, statement.version) != (pointer.manifest, pointer.version):
        raise TrustError(
            f"{folder / 'bundle.json'} names version {pointer.version}, but its signature is about "
            f"another (version {statement.version}); copy the bundle again"
        )
    return statement
