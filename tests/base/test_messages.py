"""Every message is one printable line, whatever it quotes."""

import pickle

import pytest

from cad_edge.errors import CadEdgeError, ImageError, IntegrityError, one_line
from cad_edge.store.bundle import Bundle
from tests.base.bundle_samples import export

pytestmark = pytest.mark.torchless


def all_errors(kind=CadEdgeError):
    yield kind
    for one in kind.__subclasses__():
        yield from all_errors(one)


@pytest.mark.parametrize("kind", sorted(all_errors(), key=lambda one: one.__name__))
def test_one_line_of_bounded_length(kind):
    for text in ("x" * 789_020, "\n" * 100_000, "\0\x1b[2J\r\t", "\udcff\ud800", "a\u2028b", ""):
        said = str(kind(text))
        assert said.isprintable() and len(said) <= 500
        said.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first\nsecond", r"first\nsecond"),
        ("caf\udce9/1.png is broken", r"caf\xe9/1.png is broken"),
        ("\ud800", r"\ud800"),
        ("Prüfling 1, ñ 部品", "Prüfling 1, ñ 部品"),
        ("\x1b[31mred", r"\x1b[31mred"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text, said):
    assert one_line(text) == said == str(ImageError(text))


def test_beginning_and_end_stay():
    said = one_line(f"/line/{'a' * 10_000} is broken; copy it again")
    assert said.startswith("/line/aaa") and said.endswith("aaa is broken; copy it again")
    assert " ... " in said and len(said) == 500


def test_an_error_crosses_processes():
    again = pickle.loads(pickle.dumps(IntegrityError("a\nb")))
    assert type(again) is IntegrityError and str(again) == r"a\nb"


def test_a_bundle_in_a_folder_whose_name_is_not_utf8(tmp_path):
    place = tmp_path / "caf\udce9\nline"
    bundle = Bundle(place)
    sha = export(bundle, ["brick"])
    (place / "manifests" / f"{sha}.json").write_bytes(b"{}")
    with pytest.raises(IntegrityError, match=r"caf\\xe9\\nline/manifests/") as refused:
        bundle.manifest()
    assert str(refused.value).isprintable()
