"""Commands that put versions of a bundle in force, vouch for them, and delete old ones."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from cad_edge import options
from cad_edge.errors import BundleError, OptionError
from cad_edge.store.bundle import Bundle
from cad_edge.store.signature import Signer, short, signer_of
from cad_edge.store.signatures import lost_expiry_notes, unsigned_note, valid_until


@click.command()
@options.bundle
@click.option(
    "--to",
    "version",
    type=int,
    metavar="NUMBER",
    help="Number of the version [default: the one before].",
)
@click.option(
    "--allow-older",
    is_flag=True,
    help="With trusted keys: let this device forget that it has opened newer versions, and accept "
    "the signature that the older one has.",
)
@options.sign
@options.expires
@options.trusted_keys
def rollback(
    bundle: Path,
    version: int | None,
    allow_older: bool,
    sign: Path | None,
    expires: datetime | None,
) -> None:
    """Go back to an older version of BUNDLE.

    Where signatures are checked, a version older than the newest that a device has opened is
    refused there. Sign it again (--sign), which every device takes, or permit it on this device
    (--allow-older).
    """
    signer = signer_of(sign, expires)
    store = Bundle(bundle)
    before = store.pointer(trusted=False)
    signed = None
    with suppress(BundleError):  # what is rolled back may be damaged
        signed = store.statement()
    after = store.rollback(version, signer, allow_older)
    click.echo(f"{bundle}: version {after.version} is in force, it was {before.version}")
    if before.signature is not None and after.signature is None:
        click.echo(unsigned_note(after.version))
    elif before.signature is not None and signer is None and not store.checks_signatures:
        click.echo(
            f"devices that check signatures refuse version {after.version} once they have opened a "
            f"newer one; sign it again by `cad-edge rollback --to {after.version} --sign`"
        )
    for line in lost_expiry_notes(signed, signer, after.version):
        click.echo(line)


@click.command("sign")
@options.bundle
@click.argument("key", type=click.Path(path_type=Path))
@options.expires
@options.trusted_keys
def sign_command(bundle: Path, key: Path, expires: datetime | None) -> None:
    """Sign the version of BUNDLE that is in force with KEY, an Ed25519 private key.

    KEY vouches for whatever lies there: look at it first, by `cad-edge tasks` and
    `cad-edge verify --open`. To change keys, trust both on the devices, sign with the new one, and
    then stop trusting the old one.
    """
    signer = Signer(key, expires)
    store = Bundle(bundle)
    version = store.sign(signer).version
    click.echo(
        f"{bundle}: version {version} is signed with the key {short(signer.public.id)} "
        f"{valid_until(signer.expires)}"
    )


@click.command()
@options.bundle
@click.option(
    "--keep",
    type=int,
    default=2,
    show_default=True,
    metavar="NUMBER",
    help="How many versions to keep, including the newest.",
)
@options.trusted_keys
def gc(bundle: Path, keep: int) -> None:
    """Delete files that only older versions of BUNDLE need."""
    if keep < 1:
        raise OptionError(f"--keep {keep} is not allowed; give 1 or more")
    found = Bundle(bundle).collect_garbage(keep)
    click.echo(
        f"{bundle}: deleted {len(found.objects)} objects and {len(found.manifests)} manifests, "
        f"{found.bytes} bytes"
    )
