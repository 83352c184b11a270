"""Signed bundles: what a device with trusted keys opens, and what it refuses."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cad_edge.errors import BundleError, IntegrityError, OptionError, TrustError
from cad_edge.store.bundle import Bundle
from cad_edge.store.garbage import PRIVATE
from cad_edge.store.objects import ObjectStore
from cad_edge.store.seen_versions import STATE, state_folder
from cad_edge.store.signature import Signer
from cad_edge.store.trust import TRUSTED_KEYS
from cad_edge_runtime import Detector, session
from cad_edge_runtime.tensor_file import TensorFile
from tests.base.signing_keys import make_keys
from tests.house.refusals import content, run, sentence

pytestmark = pytest.mark.torchless


@pytest.fixture(autouse=True)
def device(tmp_path, monkeypatch) -> Path:
    """State of a device that has seen nothing."""
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def keys(tmp_path) -> tuple[Path, Path]:
    return make_keys(tmp_path / "keys", "line")


@pytest.fixture
def signed(bundle, keys) -> Path:
    Bundle(bundle).sign(Signer(keys[0]))
    return bundle


def opens(bundle: Path, *public: Path) -> int:
    with Detector.open(bundle, threads=1, watch=False, trusted_keys=public) as detector:
        return detector.version


def signed_threshold(bundle: Path, key: Path, rate: float = 0.2) -> None:
    done = run("threshold", bundle, "--task", "red", "--false-reject-rate", rate, "--sign", key)
    assert done.exit_code == 0, done.output


class TestOpening:
    def test_without_keys_nothing_changes(self, bundle, device):
        before = content(bundle)
        with Detector.open(bundle, threads=1) as detector:
            assert detector.version == 1
        assert content(bundle) == before
        assert not device.exists()
        assert "3 tasks, unsigned" in run("tasks", bundle).output

    def test_a_signed_version_opens_with_its_key_and_without_keys(self, signed, keys, bundle):
        assert opens(signed, keys[1]) == 1
        with Detector.open(bundle, threads=1, watch=False) as detector:
            assert detector.version == 1

    def test_an_unsigned_version_is_refused(self, bundle, keys):
        with pytest.raises(TrustError, match="is unsigned, and only signed versions are accepted"):
            opens(bundle, keys[1])

    def test_another_key_is_refused(self, signed, tmp_path):
        _, other = make_keys(tmp_path / "keys", "other")
        with pytest.raises(TrustError, match="is not trusted here"):
            opens(signed, other)

    def test_any_of_several_keys_is_enough(self, signed, keys, tmp_path):
        _, other = make_keys(tmp_path / "keys", "other")
        assert opens(signed, other, keys[1]) == 1
        assert opens(signed, tmp_path / "keys") == 1

    def test_the_environment_names_keys(self, bundle, signed, keys, monkeypatch, tmp_path):
        monkeypatch.setenv(TRUSTED_KEYS, str(keys[1]))
        assert Detector.open(signed, threads=1, watch=False).version == 1
        unsigned = shutil.copytree(Path(__file__).parents[1] / "golden" / "bundle", tmp_path / "u")
        with pytest.raises(TrustError, match="unsigned"):
            Detector.open(unsigned, threads=1)
        assert "unsigned" in sentence("detect", unsigned, tmp_path)

    @pytest.mark.parametrize("names", ["", os.pathsep])
    def test_a_list_that_was_lost_does_not_switch_the_check_off(self, bundle, names, monkeypatch):
        monkeypatch.setenv(TRUSTED_KEYS, names)
        with pytest.raises(OptionError, match="trusted keys are asked for, but none is named"):
            Detector.open(bundle, threads=1)
        with pytest.raises(OptionError, match="none is named"):
            Detector.open(bundle, threads=1, trusted_keys=[])

    def test_files_that_are_no_keys_are_one_sentence(self, bundle, keys, tmp_path):
        (tmp_path / "x.pem").write_text("hello")
        (tmp_path / "rsa.pem").write_text(_RSA)
        for place, said in {
            tmp_path / "x.pem": "holds no public key",
            keys[0]: "holds no public key",
            tmp_path / "rsa.pem": "is no Ed25519 key",
            tmp_path / "none.pem": "cannot be read",
        }.items():
            with pytest.raises(OptionError, match=said):
                opens(bundle, place)
        with pytest.raises(OptionError, match="give a list of paths"):
            Detector.open(bundle, trusted_keys=str(keys[1]))

    def test_an_expired_signature_is_refused(self, bundle, keys):
        soon = datetime.now(timezone.utc) + timedelta(seconds=0.5)
        Bundle(bundle).sign(Signer(keys[0], soon))
        assert opens(bundle, keys[1]) == 1
        while datetime.now(timezone.utc) <= soon:
            pass
        with pytest.raises(TrustError, match="expired on"):
            opens(bundle, keys[1])
        with pytest.raises(OptionError, match="is past"):
            Signer(keys[0], soon)
        Bundle(bundle).sign(Signer(keys[0]))
        assert opens(bundle, keys[1]) == 1


class TestForgeries:
    def test_the_attack_of_the_report(self, signed, keys, frames):
        """Whoever can write the folder raises a threshold, and hashes all of it again."""
        shown = frames["red.bad"][0]
        with Detector.open(signed, threads=1, watch=False) as detector:
            assert detector.detect(shown, "red").verdict == "anomalous"
        attack(signed)
        with Detector.open(signed, threads=1, watch=False) as detector:
            assert detector.detect(shown, "red").verdict == "normal"
        with pytest.raises(TrustError, match="is unsigned"):
            opens(signed, keys[1])
        done = run("verify", signed, "--trusted-key", keys[1])
        assert done.exit_code == 1 and "is unsigned" in done.stderr

    def test_the_old_signature_does_not_cover_another_manifest(self, signed, keys):
        before = json.loads((signed / "bundle.json").read_text())
        attack(signed)
        forged = json.loads((signed / "bundle.json").read_text())
        forged["signature"] = before["signature"]
        (signed / "bundle.json").write_text(json.dumps(forged))
        with pytest.raises(TrustError, match="its signature is about another"):
            opens(signed, keys[1])

    @pytest.mark.parametrize("field", ["version", "bundle", "issued", "expires", "key"])
    def test_a_statement_that_was_changed_is_refused(self, signed, keys, field):
        bundle = Bundle(signed)
        pointer = bundle.pointer()
        statement, signature = bundle._pointer.signatures.read(pointer.signature)
        said = json.loads(statement)
        said[field] = {
            "version": 2,
            "bundle": "0" * 32,
            "issued": "2099-01-01T00:00:00Z",
            "expires": "2099-01-01T00:00:00Z",
            "key": said["key"][::-1],
        }[field]
        files = {"statement.json": json.dumps(said).encode(), "statement.sig": signature}
        name = bundle._pointer.signatures.store.add(files)
        update = json.loads((signed / "bundle.json").read_text()) | {"signature": name}
        (signed / "bundle.json").write_text(json.dumps(update))
        with pytest.raises(TrustError, match=r"has signed|is not trusted here"):
            opens(signed, keys[1])

    @pytest.mark.parametrize("version", [2, 7])
    def test_the_number_of_the_pointer_is_compared(self, bundle, signed, keys, version):
        """With keys or without: what is opened has the version that the pointer names."""
        update = json.loads((signed / "bundle.json").read_text()) | {"version": version}
        (signed / "bundle.json").write_text(json.dumps(update))
        with pytest.raises(BundleError, match=f"names version {version}, but its manifest is"):
            Detector.open(signed, threads=1, watch=False)
        with pytest.raises(TrustError, match=f"names version {version}, but its signature"):
            opens(signed, keys[1])


def attack(bundle: Path) -> None:
    """Put a version in force whose threshold lets everything pass."""
    store = Bundle(bundle)
    with store.lock():
        pointer, manifest = store.pointer(), store.manifest()
        entry = manifest.tasks["red"]
        blind = entry.decision.model_copy(update={"threshold": 1e30})
        tasks = {**manifest.tasks, "red": entry.model_copy(update={"decision": blind})}
        update = {"version": pointer.version + 1, "previous": pointer.manifest, "tasks": tasks}
        store.commit(manifest.model_copy(update=update))


class TestExchange:
    """Whoever can write the folder exchanges a file after it was hashed and before it is used."""

    def test_graphs_are_loaded_from_a_copy(self, signed, keys, monkeypatch):
        loaded = []
        inner = session.open_session

        def watched(module, path, *rest):
            loaded.append(Path(path))
            return inner(module, path, *rest)

        monkeypatch.setattr(session, "open_session", watched)
        assert opens(signed, keys[1]) == 1
        assert loaded and not any(signed in path.parents or path.exists() for path in loaded)
        loaded.clear()
        with Detector.open(signed, threads=1, watch=False):
            assert all(signed in path.parents for path in loaded)

    def test_a_file_that_is_exchanged_while_it_is_copied_is_found(self, signed, keys, monkeypatch):
        inner = ObjectStore.copy

        def late(store, sha, target):
            place = store.path(sha) / "graph.onnx"
            before = place.read_bytes()
            place.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
            try:
                inner(store, sha, target)
            finally:
                place.write_bytes(before)

        monkeypatch.setattr(ObjectStore, "copy", late)
        with pytest.raises(IntegrityError, match="is not what its sha256 says"):
            opens(signed, keys[1])

    def test_tensors_that_were_read_count_and_not_those_that_lie_there_now(
        self, signed, keys, monkeypatch
    ):
        inner = TensorFile.read

        def other(file):
            arrays, _ = inner(file)
            return arrays, "0" * 64

        monkeypatch.setattr(TensorFile, "read", other)
        with pytest.raises(IntegrityError, match="changed while it was being read"):
            opens(signed, keys[1])


class TestReplay:
    def test_a_version_older_than_the_newest_seen_is_refused(self, signed, keys, tmp_path):
        old = (signed / "bundle.json").read_bytes()
        signed_threshold(signed, keys[0])
        assert opens(signed, keys[1]) == 2
        (signed / "bundle.json").write_bytes(old)
        with pytest.raises(TrustError, match="before one that this machine has opened"):
            opens(signed, keys[1])

    def test_a_running_detector_goes_on_with_the_newer_one(self, signed, keys):
        old = (signed / "bundle.json").read_bytes()
        signed_threshold(signed, keys[0])
        with Detector.open(signed, threads=1, watch=False, trusted_keys=[keys[1]]) as detector:
            (signed / "bundle.json").write_bytes(old)
            with pytest.raises(TrustError, match="before one"):
                detector.refresh()
            assert detector.version == 2
            assert isinstance(detector.last_refresh_error, TrustError)

    def test_an_unseen_old_version_opens_once(self, signed, keys, monkeypatch, tmp_path):
        """Another device has not seen the newer one, so nothing tells it that there is one."""
        old = (signed / "bundle.json").read_bytes()
        signed_threshold(signed, keys[0])
        (signed / "bundle.json").write_bytes(old)
        monkeypatch.setenv(STATE, str(tmp_path / "another device"))
        assert opens(signed, keys[1]) == 1

    def test_another_bundle_of_the_same_key_is_refused_at_this_place(self, signed, keys, tmp_path):
        golden = Path(__file__).parents[1] / "golden" / "bundle"
        other = Path(shutil.copytree(golden, tmp_path / "other"))
        assert opens(signed, keys[1]) == 1
        Bundle(other).sign(Signer(keys[0]))
        assert opens(other, keys[1]) == 1
        shutil.rmtree(signed)
        shutil.copytree(other, signed)
        with pytest.raises(TrustError, match="holds another bundle than the one"):
            opens(signed, keys[1])

    def test_a_folder_that_cannot_be_written_is_said(self, signed, keys, device):
        shutil.rmtree(device)
        device.write_text("a file")
        with pytest.raises(TrustError, match=STATE):
            opens(signed, keys[1])


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


_RSA = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


def pointer_of(bundle: Path) -> dict:
    return json.loads((bundle / "bundle.json").read_text())


def point(bundle: Path, **update: object) -> None:
    (bundle / "bundle.json").write_text(json.dumps({**pointer_of(bundle), **update}))


def store_statement(bundle: Path, said: dict, signature: bytes) -> str:
    files = {"statement.json": json.dumps(said).encode(), "statement.sig": signature}
    return Bundle(bundle)._pointer.signatures.store.add(files)


CHANGE = ["--task", "red", "--false-reject-rate", "0.2"]


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


@pytest.mark.parametrize("given", [5, b"x", [None], [b"x"], [["x"]], [""], {"x": 1}.items()])
def test_trusted_keys_of_a_wrong_kind_are_one_sentence(bundle, given):
    with pytest.raises(OptionError, match=r"trusted_keys is one|trusted keys hold"):
        Detector.open(bundle, trusted_keys=given)


def test_an_empty_name_of_a_key_is_refused(bundle):
    assert "is a variable empty?" in sentence("tasks", bundle, "--trusted-key", "")


def test_an_expiry_beyond_the_calendar_is_one_sentence(bundle, keys):
    assert "neither a date" in sentence("sign", bundle, keys[0], "--expires", "9999-12-31")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(TrustError, match=f"set {STATE}"):
        state_folder({})


def test_copies_of_killed_processes_are_removed(signed, keys, monkeypatch, tmp_path):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    left, fresh = place / f"{PRIVATE}999999999-x", place / f"{PRIVATE}999999998-x"
    left.mkdir(), fresh.mkdir()
    os.utime(left, (1, 1))
    assert opens(signed, keys[1]) == 1
    assert list(place.iterdir()) == [fresh]


def test_a_folder_that_may_not_be_listed_is_one_sentence(bundle):
    if os.getuid() == 0:
        pytest.skip("this user may read everything")
    (bundle / "objects").chmod(0)
    try:
        assert "cannot be read" in sentence("verify", bundle)
        with pytest.raises(BundleError, match="cannot be read"):
            Detector.open(bundle)
    finally:
        (bundle / "objects").chmod(0o755)
