"""Signed bundles: what a device with trusted keys opens, and what it refuses."""

import json
import os
import shutil
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
from tests.runtime.signed_versions import attack, opens, signed_threshold

pytestmark = [pytest.mark.torchless, pytest.mark.usefixtures("fresh_device")]

_RSA = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


class TestOpening:
    def test_without_keys_nothing_changes(self, bundle, fresh_device):
        before = content(bundle)
        with Detector.open(bundle, threads=1) as detector:
            assert detector.version == 1
        assert content(bundle) == before
        assert not fresh_device.exists()
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

    def test_a_folder_that_cannot_be_written_is_said(self, signed, keys, fresh_device):
        shutil.rmtree(fresh_device)
        fresh_device.write_text("a file")
        with pytest.raises(TrustError, match=STATE):
            opens(signed, keys[1])


@pytest.mark.parametrize("given", [5, b"x", [None], [b"x"], [["x"]], [""], {"x": 1}.items()])
def test_trusted_keys_of_a_wrong_kind_are_one_sentence(bundle, given):
    with pytest.raises(OptionError, match=r"trusted_keys is one|trusted keys hold"):
        Detector.open(bundle, trusted_keys=given)


def test_an_empty_name_of_a_key_is_refused(bundle):
    assert "is a variable empty?" in sentence("tasks", bundle, "--trusted-key", "")


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
