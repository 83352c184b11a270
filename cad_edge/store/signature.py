r"""Signed statements: who vouches for a version of a bundle, since when and how long.

A statement names a manifest by its sha256, and a manifest names every object by its own, so that
one signature covers every byte that a device uses. Keys are Ed25519 (RFC 8032) in PEM files, and
what is signed is the file itself, so that OpenSSL can check it:

    openssl genpkey -algorithm ed25519 -out line.key
    openssl pkey -in line.key -pubout -out line.pub
    openssl pkeyutl -verify -rawin -pubin -inkey line.pub \
        -in bundle/signatures/<sha256>/statement.json \
        -sigfile bundle/signatures/<sha256>/statement.sig

docs/decisions/0029-signed-bundles.md says what this protects against whom.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AwareDatetime, BeforeValidator, Field

from cad_edge.errors import OptionError, TrustError
from cad_edge.schema import Record, Sha256, parse_json
from cad_edge.store.plain_file import read_plain
from cad_edge.store.unreadable import advice_about, words_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "CAD_EDGE_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
"""Environment variable with the passphrase of an encrypted private key."""

_LARGEST_KEY = 1 << 16  # bytes of a PEM file
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_INSTALL = 'run `pip install "cad-edge[signing]"`'


def _time(value: object) -> object:
    """Read a time as JSON has it; records are validated strictly and take no text for one."""
    if not isinstance(value, str):
        return value
    return datetime.fromisoformat(value.removesuffix("Z") + "+00:00" * value.endswith("Z"))


Time = Annotated[AwareDatetime, BeforeValidator(_time)]
"""A point in time with its zone; ISO 8601 in JSON."""


class Statement(Record):
    """``statement.json``: what the holder of a key says about one version."""

    format: Literal[1] = 1
    purpose: Literal["cad-edge bundle"] = "cad-edge bundle"
    bundle: str = Field(
        pattern=r"^[0-9a-f]{32}$", description="names the bundle through all of its versions"
    )
    manifest: Sha256
    version: int = Field(ge=1)
    issued: Time = Field(description="later in every statement about the same bundle")
    expires: Time | None
    key: Sha256 = Field(description="of the public key's SubjectPublicKeyInfo in DER")


class Signer:
    """The private key that a workstation signs with.

    Parameters
    ----------
    path
        PEM file of an Ed25519 key in PKCS #8, as `openssl genpkey -algorithm ed25519` writes it.
    expires
        When what is signed ends to be accepted; None: never.

    Raises
    ------
    OptionError
        The file cannot be read or holds another key, or ``expires`` is past.
    """

    def __init__(self, path: Path, expires: datetime | None = None) -> None:
        if expires is not None and expires.tzinfo is None:
            raise OptionError("expires has no time zone; give tzinfo, e.g. timezone.utc")
        if expires is not None and expires <= datetime.now(timezone.utc):
            raise OptionError(f"--expires {expires:%Y-%m-%d %H:%M} is past; give a later date")
        self._key = _private_key(path)
        self.expires = expires
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, statement: bytes) -> bytes:
        """Return the 64 bytes of the signature of ``statement``."""
        return self._key.sign(statement)


def signer_of(path: Path | None, expires: datetime | None) -> Signer | None:
    """Return the signer that the options --sign and --expires ask for.

    Raises
    ------
    OptionError
        As `Signer`, or there is a date without a key.
    """
    if path is None and expires is not None:
        raise OptionError("--expires is about a signature; give --sign as well, or leave it out")
    return None if path is None else Signer(path, expires)


class PublicKey:
    """A key whose signatures are accepted; ``raw`` are its 32 bytes (RFC 8032)."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        # The fixed head of RFC 8410, so that `openssl pkey -pubin -outform DER | sha256sum` agrees.
        self.id = hashlib.sha256(bytes.fromhex("302a300506032b6570032100") + raw).hexdigest()

    def verifies(self, statement: bytes, signature: bytes) -> bool:
        """Whether this key made ``signature`` of ``statement``."""
        _require_cryptography()
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, statement)
        except InvalidSignature:
            return False
        return True


def parse_statement(data: bytes, source: str) -> Statement:
    """Read a statement; TrustError if it is not one."""
    return parse_json(Statement, data, source, TrustError)


def require_signed(
    statement: bytes, signature: bytes, keys: Iterable[PublicKey], source: str
) -> Statement:
    """Read a statement that one of ``keys`` has signed.

    Raises
    ------
    TrustError
        None of them has, or it is no statement.
    """
    found = parse_statement(statement, source)
    known = {key.id: key for key in keys}
    if found.key not in known:
        raise TrustError(
            f"{source} is signed with the key {short(found.key)}, which is not trusted here "
            f"(trusted: {', '.join(short(key) for key in sorted(known))}); add its public key if "
            "it is yours, or copy the bundle again"
        )
    if not known[found.key].verifies(statement, signature):
        raise TrustError(
            f"{source} is not what the key {short(found.key)} has signed; copy the bundle again"
        )
    return found


def read_public_keys(path: Path) -> Iterator[PublicKey]:
    """Read the keys of a PEM file, or of every ``*.pem`` and ``*.pub`` file of a folder.

    Raises
    ------
    OptionError
        There is none, or one is not an Ed25519 key.
    """
    files = [path]
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix in (".pem", ".pub"))
    blocks = [(file, block) for file in files for block in _PEM.findall(_read_key(file))]
    if not blocks:
        raise OptionError(
            f"{path} holds no public key in PEM form; give what `openssl pkey -pubout` writes"
        )
    for file, block in blocks:
        yield _public_key(file, block)


def short(key: str) -> str:
    """Return the beginning of a key's sha256, as messages name it."""
    return key[:16]


def _public_key(path: Path, block: bytes) -> PublicKey:
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(block)
    except Exception as problem:  # cryptography raises classes of its own for unknown algorithms
        raise OptionError(f"{path} cannot be read as a public key ({problem})") from None
    if not isinstance(key, Ed25519PublicKey):
        raise OptionError(f"{path} is no Ed25519 key; make one by `openssl genpkey`, docs/trust.md")
    return PublicKey(key.public_bytes_raw())


def _private_key(path: Path) -> "Ed25519PrivateKey":
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    phrase = os.environ.get(PASSPHRASE)
    data = _read_key(path)
    try:
        key = load_pem_private_key(data, phrase.encode() if phrase else None)
    except TypeError:
        wanted = "needs a passphrase" if not phrase else "is not encrypted"
        raise OptionError(f"the key {path} {wanted}; set or unset {PASSPHRASE}") from None
    except Exception:  # whatever the parser says may hold bytes of a secret
        raise OptionError(
            f"{path} cannot be read as a private key (a PEM file of an Ed25519 key, and its "
            f"passphrase in {PASSPHRASE} if it has one); make one by `openssl genpkey -algorithm "
            "ed25519`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise OptionError(
            f"{path} is no Ed25519 key; make one by `openssl genpkey -algorithm ed25519`"
        )
    return key


def _read_key(path: Path) -> bytes:
    try:
        return read_plain(path, _LARGEST_KEY, follow=True)
    except OSError as problem:
        advice = advice_about(problem) or "give a PEM file"
        raise OptionError(
            f"the key {path} cannot be read ({words_of(problem)}); {advice}"
        ) from None


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise OptionError(
            f"signatures need the package cryptography, which is not installed; {_INSTALL}"
        ) from None
