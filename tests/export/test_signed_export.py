"""`export --sign`: what is added is vouched for, and what lies there already must be as well."""

import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest

from cad_edge.errors import TrustError
from cad_edge.store.bundle import Bundle
from cad_edge.store.seen_versions import STATE
from cad_edge.store.signature import Signer
from cad_edge.store.trust import TRUSTED_KEYS
from cad_edge_export import export
from tests.base.signing_keys import make_keys
from tests.house.refusals import content, run, sentence
from tests.training.small_products import NAMES


@pytest.fixture
def keys(tmp_path, monkeypatch) -> tuple[Path, Path]:
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    return make_keys(tmp_path / "keys", "line")


@pytest.fixture
def place(tiny_first, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_first, tmp_path / "bundle"))


def test_a_signed_export_is_accepted_where_its_key_is_trusted(tiny, dinov2, place, keys):
    Bundle(place).sign(Signer(keys[0]))
    words = ["export", tiny, "--bundle", place, "--backbone", f"dinov2:{dinov2}"]
    done = run(*words, "--sign", keys[0], "--trusted-key", keys[1])
    assert done.exit_code == 0, done.output
    trusting = Bundle(place, [keys[1]])
    assert trusting.pointer().version == 2
    assert sorted(trusting.manifest().tasks) == sorted(NAMES)


def test_an_export_that_adds_nothing_says_that_it_signs_nothing(tiny, dinov2, place, keys):
    export(tiny, place, backbone=f"dinov2:{dinov2}")
    until = datetime(2099, 1, 1, tzinfo=timezone.utc)
    Bundle(place).sign(Signer(keys[0], until))
    done = export(tiny, place, backbone=f"dinov2:{dinov2}", sign=keys[0])
    assert done.added == () and done.notes[-1].startswith("nothing was signed")
    assert Bundle(place).statement().expires == until


def test_what_nobody_signed_is_not_built_on(tiny, dinov2, place, keys):
    """The refusal comes before anything is made, and says which command vouches for the rest."""
    before = content(place)
    words = ["export", tiny, "--bundle", place, "--backbone", f"dinov2:{dinov2}"]
    assert "is unsigned, and a signature now would vouch for it" in sentence(
        *words, "--sign", keys[0]
    )
    assert content(place) == before


def test_an_unsigned_export_to_a_signed_bundle_is_said_or_refused(tiny, dinov2, place, keys):
    Bundle(place).sign(Signer(keys[0]))
    before = content(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRUSTED_KEYS, str(keys[1]))
        with pytest.raises(TrustError, match="give --sign with the private key"):
            export(tiny, place, backbone=f"dinov2:{dinov2}")
    assert content(place) == before
    done = export(tiny, place, backbone=f"dinov2:{dinov2}")
    assert "version 2 is unsigned" in done.notes[-1]
