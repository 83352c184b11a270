"""Signing: what `--sign` and `cad-edge sign` vouch for, and what they refuse."""

import hashlib
import json
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cad_edge.errors import BundleError, TrustError
from cad_edge.store.bundle import Bundle
from cad_edge.store.seen_versions import STATE
from cad_edge.store.signature import Signer
from tests.base.signing_keys import make_keys
from tests.house.refusals import content, run, sentence
from tests.runtime.signed_versions import (
    CHANGE,
    attack,
    opens,
    point,
    pointer_of,
    signed_threshold,
    store_statement,
)

pytestmark = [pytest.mark.torchless, pytest.mark.usefixtures("fresh_device")]


class TestRollback:
    @pytest.fixture
    def two(self, signed, keys) -> Path:
        signed_threshold(signed, keys[0])
        assert opens(signed, keys[1]) == 2
        return signed

    def test_it_is_refused_without_signature_or_permission(self, two, keys):
        before = content(two)
        said = sentence("rollback", two, "--trusted-key", keys[1])
        assert "(`cad-edge rollback --to 1 --sign`), or permit it here" in said
        assert content(two) == before

    def test_a_rollback_that_devices_refuse_says_how_to_sign_it(self, two, keys):
        said = run("rollback", two).output
        assert "refuse version 1 once they have opened a newer one" in said
        again = run("rollback", two, "--to", 1, "--sign", keys[0])
        assert again.exit_code == 0 and "refuse" not in again.output
        assert opens(two, keys[1]) == 1

    def test_a_new_signature_takes_it_to_every_device(self, two, keys, monkeypatch, tmp_path):
        assert run("rollback", two, "--sign", keys[0]).exit_code == 0
        assert opens(two, keys[1]) == 1

    def test_a_permission_takes_it_on_this_device_alone(self, two, keys, monkeypatch, tmp_path):
        done = run("rollback", two, "--trusted-key", keys[1], "--allow-older")
        assert done.exit_code == 0, done.output
        assert opens(two, keys[1]) == 1
        monkeypatch.setenv(STATE, str(tmp_path / "another device"))
        assert opens(two, keys[1]) == 1  # it has seen nothing newer

    def test_a_forged_version_in_force_does_not_stop_it(self, two, keys):
        attack(two)
        assert run("rollback", two, "--to", 2, "--trusted-key", keys[1]).exit_code == 0
        assert opens(two, keys[1]) == 2

    def test_a_version_that_nobody_signed_cannot_be_rolled_back_to(self, two, keys):
        attack(two)
        signed_again = run("sign", two, keys[0])
        assert signed_again.exit_code == 0
        attack(two)
        attack(two)
        said = sentence("rollback", two, "--sign", keys[0])
        assert "is unsigned, and a signature now would vouch for it" in said


class TestSigning:
    def test_openssl_agrees(self, signed, keys):
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        pointer = json.loads((signed / "bundle.json").read_text())
        place = signed / "signatures" / pointer["signature"]
        files = ["-in", place / "statement.json", "-sigfile", place / "statement.sig"]
        done = subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", keys[1], *files],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        statement = json.loads((place / "statement.json").read_text())
        assert (statement["manifest"], statement["version"]) == (pointer["manifest"], 1)
        der = subprocess.run(
            ["openssl", "pkey", "-pubin", "-in", keys[1], "-outform", "DER"],
            capture_output=True,
            check=True,
        ).stdout
        assert statement["key"] == hashlib.sha256(der).hexdigest()

    def test_keys_of_openssl_are_read(self, bundle, tmp_path):
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        key, public = tmp_path / "k.pem", tmp_path / "k.pub"
        made = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", key]
        subprocess.run(made, check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
        assert run("sign", bundle, key).exit_code == 0
        assert opens(bundle, public) == 1

    def test_tasks_says_who_has_signed(self, signed, keys):
        assert "signed with the key" in run("tasks", signed).output
        assert "not checked: no key is trusted here" in run("tasks", signed).output
        checked = run("tasks", signed, "--trusted-key", keys[1]).output
        assert "signed with the key" in checked and "not checked" not in checked

    def test_an_unsigned_version_of_a_signed_bundle_is_said(self, signed, keys):
        done = run("threshold", signed, "--task", "red", "--false-reject-rate", "0.2")
        assert "version 2 is unsigned: devices that check signatures stay" in done.output
        assert "unsigned" in run("tasks", signed).output

    def test_where_keys_are_trusted_nothing_unsigned_is_written(self, signed, keys, tmp_path):
        before = content(signed)
        change = ["--task", "red", "--false-reject-rate", "0.2", "--trusted-key", keys[1]]
        assert "give --sign" in sentence("threshold", signed, *change)
        other, _ = make_keys(tmp_path / "keys", "other")
        assert "not among the trusted" in sentence("threshold", signed, *change, "--sign", other)
        assert content(signed) == before

    def test_a_signature_does_not_vouch_for_what_nobody_signed(self, signed, keys):
        attack(signed)
        change = ["--task", "green", "--false-reject-rate", "0.2", "--sign", keys[0]]
        assert "would vouch for it" in sentence("threshold", signed, *change)

    def test_keys_can_be_changed(self, signed, keys, tmp_path):
        """Both are trusted for a while, the new one signs, and the old one is trusted no more."""
        new, public = make_keys(tmp_path / "keys", "new")
        assert opens(signed, keys[1], public) == 1
        assert run("sign", signed, new).exit_code == 0
        assert opens(signed, keys[1], public) == 1
        assert opens(signed, public) == 1
        with pytest.raises(TrustError, match="is not trusted here"):
            opens(signed, keys[1])

    def test_gc_keeps_the_signatures_of_the_versions_it_keeps(self, signed, keys):
        signed_threshold(signed, keys[0])
        signed_threshold(signed, keys[0], 0.1)
        assert len(list((signed / "signatures").iterdir())) == 3
        assert run("gc", signed, "--keep", 2, "--trusted-key", keys[1]).exit_code == 0
        assert len(list((signed / "signatures").iterdir())) == 2
        assert opens(signed, keys[1]) == 3
        assert Bundle(signed).verify() == []

    @pytest.mark.parametrize("date", ["2099-01-31", "2099-01-31T12:00+01:00"])
    def test_expiry_is_a_day_or_a_time(self, bundle, keys, date):
        assert run("sign", bundle, keys[0], "--expires", date).exit_code == 0
        until = {10: "2099-02-01T00:00:00Z", 22: "2099-01-31T12:00:00+01:00"}[len(date)]
        found = Bundle(bundle).statement().expires
        assert found == datetime.fromisoformat(until.replace("Z", "+00:00"))

    def test_an_expiry_that_the_next_signature_lacks_is_said(self, bundle, keys):
        done = run("sign", bundle, keys[0], "--expires", "2099-01-31")
        assert done.output.endswith(" until 2099-02-01 00:00 UTC\n")
        change = ["threshold", bundle, "--task", "red", "--sign", keys[0], "--false-reject-rate"]
        lost = "is signed for ever, and the one before was until 2099-02-01 00:00 UTC"
        assert lost not in run(*change, "0.2", "--expires", "2098-01-31").output
        assert Bundle(bundle).statement().expires is not None
        run("sign", bundle, keys[0], "--expires", "2099-01-31")
        assert f"version 3 {lost}" in run(*change, "0.1").output
        run("sign", bundle, keys[0], "--expires", "2099-01-31")
        assert f"version 2 {lost}" in run("rollback", bundle, "--sign", keys[0]).output
        assert run("sign", bundle, keys[0]).output.endswith(" for ever\n")

    def test_bad_options_are_one_sentence(self, bundle, keys, tmp_path):
        (tmp_path / "x.pem").write_text("hello")
        assert "cannot be read as a private key" in sentence("sign", bundle, tmp_path / "x.pem")
        assert "cannot be read" in sentence("sign", bundle, tmp_path / "none")
        assert "cannot be read as a private" in sentence("sign", bundle, keys[1])
        assert "is past" in sentence("sign", bundle, keys[0], "--expires", "2020-01-01")
        assert "neither a date" in sentence("sign", bundle, keys[0], "--expires", "soon")
        change = ["--task", "red", "--false-reject-rate", "0.2", "--expires", "2099-01-01"]
        assert "give --sign as well" in sentence("threshold", bundle, *change)


class TestHonestHands:
    """Who holds the key works on a folder that somebody else has changed."""

    def test_an_older_version_is_not_built_on(self, signed, keys):
        """The new version would be newer than what devices have opened, with old thresholds."""
        old = (signed / "bundle.json").read_bytes()
        signed_threshold(signed, keys[0])
        (signed / "bundle.json").write_bytes(old)
        said = sentence("threshold", signed, *CHANGE, "--sign", keys[0])
        assert "before one that this machine has opened or signed" in said

    def test_an_older_manifest_under_the_newest_signature_is_not_built_on(self, signed, keys):
        old = pointer_of(signed)
        signed_threshold(signed, keys[0])
        point(signed, manifest=old["manifest"], version=old["version"])
        said = sentence("threshold", signed, *CHANGE, "--sign", keys[0])
        assert "its signature is about another (version 2)" in said

    def test_an_expired_version_is_not_built_on(self, bundle, keys):
        soon = datetime.now(timezone.utc) + timedelta(seconds=0.5)
        Bundle(bundle).sign(Signer(keys[0], soon))
        while datetime.now(timezone.utc) <= soon:
            pass
        assert "has expired" in sentence("threshold", bundle, *CHANGE, "--sign", keys[0])

    def test_the_version_that_is_vouched_for_is_the_one_that_is_built_on(self, signed, keys):
        """Between two looks at bundle.json it may be another."""
        store = Bundle(signed)
        before = (signed / "bundle.json").read_bytes()
        attack(signed)
        pointer = store.pointer()
        forged = store.manifest(pointer)
        (signed / "bundle.json").write_bytes(before)
        update = {"version": pointer.version + 1, "previous": pointer.manifest}
        with store.lock(), pytest.raises(BundleError, match="expects version 2 after"):
            store.commit(forged.model_copy(update=update), Signer(keys[0]))

    def test_nothing_is_taken_from_a_statement_that_nobody_signed(self, signed, keys):
        place = signed / "signatures" / pointer_of(signed)["signature"]
        said = json.loads((place / "statement.json").read_text())
        said |= {"bundle": "0" * 32, "issued": "9999-12-31T23:59:59.999999Z"}
        point(signed, signature=store_statement(signed, said, bytes(64)))
        assert "has signed" in sentence("threshold", signed, *CHANGE, "--sign", keys[0])
        assert run("sign", signed, keys[0]).exit_code == 0
        statement = Bundle(signed).statement()
        assert statement.bundle != "0" * 32 and statement.issued.year < 9999

    def test_a_statement_that_nobody_signed_hides_none_that_was(self, signed, keys):
        place = signed / "signatures" / pointer_of(signed)["signature"]
        said = json.loads((place / "statement.json").read_text())
        store_statement(signed, said | {"issued": "2099-01-01T00:00:00Z"}, bytes(64))
        signed_threshold(signed, keys[0])
        done = run("rollback", signed, "--trusted-key", keys[1], "--allow-older")
        assert done.exit_code == 0, done.output
        assert opens(signed, keys[1]) == 1

    def test_a_version_that_was_signed_afterwards_is_of_the_same_bundle(self, signed, keys):
        """`threshold` without a key says to sign it by `cad-edge sign`; devices accept that."""
        assert opens(signed, keys[1]) == 1
        assert run("threshold", signed, *CHANGE).exit_code == 0
        assert run("sign", signed, keys[0]).exit_code == 0
        assert opens(signed, keys[1]) == 2

    def test_a_signature_that_is_gone_is_made_anew(self, signed, keys):
        assert opens(signed, keys[1]) == 1
        shutil.rmtree(signed / "signatures" / pointer_of(signed)["signature"])
        done = run("verify", signed)
        assert done.exit_code == 1 and "is missing" in done.stderr
        assert run("sign", signed, keys[0]).exit_code == 0
        assert run("verify", signed).exit_code == 0

    def test_a_signature_about_another_version_is_a_fault_without_keys_too(self, signed, keys):
        old = pointer_of(signed)["signature"]
        signed_threshold(signed, keys[0])
        point(signed, signature=old)
        done = run("verify", signed)
        assert done.exit_code == 1 and "its signature is about another" in done.stderr

    def test_a_refused_permission_permits_nothing(self, bundle, keys):
        soon = datetime.now(timezone.utc) + timedelta(seconds=1)
        Bundle(bundle).sign(Signer(keys[0], soon))
        signed_threshold(bundle, keys[0])
        second = (bundle / "bundle.json").read_bytes()
        signed_threshold(bundle, keys[0], 0.1)
        assert opens(bundle, keys[1]) == 3
        while datetime.now(timezone.utc) <= soon:
            pass
        to_first = ["--to", 1, "--allow-older", "--trusted-key", keys[1]]
        assert "expired" in sentence("rollback", bundle, *to_first)
        (bundle / "bundle.json").write_bytes(second)
        with pytest.raises(TrustError, match="before one that this machine"):
            opens(bundle, keys[1])

    def test_a_permission_without_keys_is_refused(self, signed, keys):
        signed_threshold(signed, keys[0])
        assert "give --trusted-key as well" in sentence("rollback", signed, "--allow-older")

    @pytest.mark.parametrize("name", ["objects", "manifests", "signatures"])
    def test_nothing_is_written_through_a_link(self, signed, keys, name, tmp_path):
        (signed / name).rename(tmp_path / name)
        (signed / name).symlink_to(tmp_path / name)
        before = content(tmp_path / name)
        for words in (["gc", signed], ["sign", signed, keys[0]], ["threshold", signed, *CHANGE]):
            assert "is a symbolic link" in sentence(*words)
        assert content(tmp_path / name) == before

    def test_garbage_collection_keeps_the_signature_in_force(self, signed, keys):
        """Also one that is about something else: what it says is for `verify` to find."""
        old = pointer_of(signed)["signature"]
        signed_threshold(signed, keys[0])
        point(signed, signature=old)
        assert run("gc", signed, "--keep", 1).exit_code == 0
        assert (signed / "signatures" / old).is_dir()


def test_an_expiry_beyond_the_calendar_is_one_sentence(bundle, keys):
    assert "neither a date" in sentence("sign", bundle, keys[0], "--expires", "9999-12-31")
