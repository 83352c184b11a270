"""Records as every reader of JSON takes them; what two readers take differently is refused."""

import json
import re
import time

import pytest
from pydantic import ValidationError

from cad_edge.calibration import Calibration, decide
from cad_edge.errors import ArtifactError, BundleError, CadEdgeError, OptionError
from cad_edge.schema import canonical_json, parse_json, sha256_of
from cad_edge.store.artifact import read_record
from cad_edge.store.bundle import Bundle
from cad_edge.store.history import read_format
from cad_edge.store.manifest import Manifest, Pointer
from cad_edge.strict_json import MAXIMUM_KEYS, MAXIMUM_VALUES, NotStrictJson, read_json_object
from tests.base.bundle_samples import export
from tests.base.not_files import within
from tests.base.test_formats import RECORDS

pytestmark = pytest.mark.torchless

TEXTS = {
    "nested 1,000 deep": (b'{"a":' + b"[" * 1_000 + b"]" * 1_000 + b"}", "nested too deep"),
    "nested 100,000 deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
    "never closed": (b"[" * 1_000_000, "nested too deep"),
    "5,000 digits": (b'{"format": 1, "version": ' + b"9" * 5_000 + b"}", "integer of 5,000 digits"),
    "65 bits": (b'{"version": 9223372036854775808}', "integer of 19 digits, beyond 64 bits"),
    "1e999": (b'{"version": 1e999}', "the number 1e999, which is beyond float64"),
    "NaN": (b'{"version": NaN}', "holds NaN, which is no number of JSON"),
    "Infinity": (b'{"version": [Infinity]}', "holds Infinity"),
    "-Infinity": (b'{"version": {"a": -Infinity}}', "holds -Infinity"),
    "a key twice": (b'{"format": 1, "a": {"version": 1, "version": 2}}', "the key 'version' twice"),
    "no UTF-8": (b'{"format": 1, "a": "\xff"}', "is not UTF-8 (byte 20)"),
    "UTF-16": ('{"format": 1}'.encode("utf-16"), "is not UTF-8 (byte 0)"),
    "byte-order mark": (b'\xef\xbb\xbf{"format": 1}', "is not a JSON object"),
    "half a surrogate pair": (b'{"a": "\\ud800"}', "half of a surrogate pair"),
    "nothing": (b"", "is not a JSON object"),
    "a list": (b"[1]", "is not a JSON object"),
    "a number": (b"1", "is not a JSON object"),
    "null": (b"null", "is not a JSON object"),
    "half": (b'{"format": 1,', "is not a JSON object"),
    "two objects": (b'{"format": 1}{"format": 1}', "is not a JSON object"),
    "zeros": (bytes(500), "is not a JSON object"),
    "very many values": (
        b'{"a":[' + b"[]," * MAXIMUM_VALUES + b"1]}",
        "more than 4,000,000 values",
    ),
    "very many keys": (
        json.dumps(dict.fromkeys(map(str, range(MAXIMUM_KEYS + 1)))).encode(),
        "more than 500,000 keys",
    ),
}


def one_sentence(problem: CadEdgeError, *words: str) -> None:
    said = str(problem)
    assert all(word in said for word in words), said
    assert said.isprintable() and len(said) < 600, said


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_two_readers_may_take_differently(tmp_path, name):
    text, words = TEXTS[name]
    path = tmp_path / "artifact.json"
    path.write_bytes(text)
    with within(60):
        with pytest.raises(ArtifactError) as refused:
            read_record(tmp_path)
        one_sentence(refused.value, str(path), words)
        for model in (Pointer, Manifest):
            with pytest.raises(BundleError) as refused:
                read_format(model, text, path, BundleError)
            one_sentence(refused.value, str(path), words)
        with pytest.raises(BundleError) as refused:
            parse_json(Pointer, text, str(path), BundleError)
        one_sentence(refused.value, str(path), words)


def test_what_is_plain_json_is_read():
    text = '{"a": [1, -2, 0.5, 1e-400, true, null, "\\ud83d\\ude00 \\u00e9"], "b": {}}'
    assert read_json_object(text.encode()) == {"a": [1, -2, 0.5, 0.0, True, None, "😀 é"], "b": {}}
    assert read_json_object(b'{"a": -9223372036854775808}') == {"a": -(2**63)}
    with pytest.raises(NotStrictJson, match="the key 'a' twice"):
        read_json_object(b'{"a": 1, "a": 1}')


CONFUSED = [b"true", b"1.0", b'"1"', b"[1]", b"null", b"0", b"-1", b"1e0"]


@pytest.mark.parametrize("value", CONFUSED)
def test_a_version_is_an_integer_and_nothing_like_it(value, tmp_path):
    text = b'{"format": 1, "manifest": "%s", "version": %s}' % (b"8" * 64, value)
    with pytest.raises(BundleError, match="version: Input should be") as refused:
        read_format(Pointer, text, tmp_path / "bundle.json", BundleError)
    one_sentence(refused.value)


@pytest.mark.parametrize("value", CONFUSED)
def test_a_format_is_an_integer_and_nothing_like_it(value, tmp_path):
    text = b'{"format": %s, "manifest": "%s", "version": 1}' % (value, b"8" * 64)
    with pytest.raises(BundleError, match=r"has format .*, this version reads format 1"):
        read_format(Pointer, text, tmp_path / "bundle.json", BundleError)
    record = json.loads(canonical_json(RECORDS["artifact"])) | {"format": json.loads(value)}
    (tmp_path / "artifact.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match=r"has format .*, this version reads format 1"):
        read_record(tmp_path)


def changed(path: str, value: object) -> bytes:
    """The golden manifest with another value at a path of keys."""
    record = json.loads(canonical_json(RECORDS["manifest"]))
    *inner, last = path.split("/")
    place = record
    for key in inner:
        place = place[int(key) if isinstance(place, list) else key]
    assert isinstance(place, list) or last in place or last in {"joint", "groups", "views"}
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(record).encode()


ENTRY = "tasks/pcb-A.1"
VALUES = {
    f"{ENTRY}/decision/threshold": ["1", True, None, [1.0]],
    f"{ENTRY}/decision/map_threshold": ["1", False],
    f"{ENTRY}/decision/minimum_area": [True, 1.0, -1, 2**53 + 1],
    f"{ENTRY}/decision/images": [-1, 2**60],
    f"{ENTRY}/calibration/scores": [[], ["1"], [1e39], [True], "12", {"0": 1.0}],
    f"{ENTRY}/calibration/groups": [0, 2**60, True],
    f"{ENTRY}/position": [-1, 1.5, 2**53 + 1],
    f"{ENTRY}/method": [1, "", "x" * 1001],
    f"{ENTRY}/radius": [0, -1, "21"],
    f"{ENTRY}/engine/joint": [["2" * 64] * 2, ["2" * 64] * 5_000, ["x"]],
    f"{ENTRY}/explainer/engine/joint": [["2" * 64] * 2],
    f"{ENTRY}/engine/views": [0, 65, True],
    f"{ENTRY}/engine/stages/0/inputs/image": ["9" * 5_000, "", 1, ["frame/image"]],
    f"{ENTRY}/engine/stages": [[], [{"graph": "2" * 64, "inputs": {}}] * 1_001],
    f"{ENTRY}/explainer/layers": [0, 10**6],
    f"{ENTRY}/explainer/positions": [0, 10**12],
    f"{ENTRY}/explainer/texts/stop": [[], [1] * 1_001, [-1]],
    f"{ENTRY}/certificate/reference": ["x" * 1001, "x\n" * 10_000],
    f"{ENTRY}/certificate/score_max": ["0"],
    "selector/tasks": [["a"] * 4_097, ["a/b"], ["\n"]],
    f"{ENTRY}/calibration/folds": [0],
    f"{ENTRY}/decision/groups": [0],
    f"{ENTRY}/provenance/images": [0],
    f"{ENTRY}/explainer/texts/question": ["", "x" * 100_001],
    "version": [0, 2**53 + 1],
    "previous": ["A" * 64, "4" * 64 + "\n", "x" * 1_000_000],
}


@pytest.mark.parametrize(("path", "value"), [(key, one) for key in VALUES for one in VALUES[key]])
def test_values_of_a_manifest_that_no_device_can_use(path, value, tmp_path):
    place = tmp_path / "m.json"
    with pytest.raises(BundleError) as refused:
        read_format(Manifest, changed(path, value), place, BundleError)
    one_sentence(refused.value, f"{place} is not valid: ")


def test_numbers_that_are_no_numbers_of_json_in_a_stored_manifest(tmp_path):
    """A threshold of Infinity would pass everything; hyperparameters are whatever they are."""
    bundle = Bundle(tmp_path)
    text = canonical_json(bundle.manifest(export(bundle, ["brick"])))
    for old, new in (
        (rb'"threshold": [0-9.e-]+', b'"threshold": Infinity'),
        (rb'"map_threshold": [0-9.e-]+', b'"map_threshold": -Infinity'),
        (rb'"radius": 2.5', b'"radius": 1e999'),
        (rb'"hyperparameters": \{\}', b'"hyperparameters": {"a": [NaN]}'),
        (rb'"score_max": 0.0', b'"score_max": NaN'),
    ):
        data = re.sub(old, new, text, count=1)
        assert data != text
        (tmp_path / "manifests" / f"{sha256_of(data)}.json").write_bytes(data)
        with pytest.raises(BundleError, match=r"holds .*, which is"):
            bundle.manifest(sha256_of(data))


def test_numbers_that_are_no_numbers_of_json_are_not_written(tmp_path):
    entry = RECORDS["manifest"].tasks["pcb-A.1"]
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="finite"):
            type(entry.decision)(**{**dict(entry.decision), "threshold": value})
        broken = entry.certificate.model_copy(update={"score_max": value})
        with pytest.raises(ValueError, match="JSON compliant"):
            canonical_json(broken)
        manifest = RECORDS["manifest"]
        changed = entry.model_copy(update={"certificate": broken})
        with pytest.raises(BundleError, match="a figure that is NaN or infinite"):
            Bundle(tmp_path)._history.write(
                manifest.model_copy(update={"tasks": {"pcb-A.1": changed}})
            )
    assert not list(tmp_path.iterdir())


def test_an_area_that_no_image_has():
    calibration = Calibration(scheme="split", folds=1, scores=[1.0], map_peaks=[])
    assert decide(calibration, 0.1, 10**9).minimum_area == 10**9
    for area in (10**400, 2**53 + 1, -1):
        with pytest.raises(OptionError, match=r"smallest defect of .* is not allowed"):
            decide(calibration, 0.1, area)


@pytest.mark.parametrize(
    ("place", "size"), [("scores", 900_000), ("hyperparameters", 900_000), ("keys", 400_000)]
)
def test_very_many_mistakes_take_neither_long_nor_much(place, size, tmp_path):
    values = {
        "scores": (f"{ENTRY}/calibration/scores", ["x"] * size),
        "hyperparameters": (f"{ENTRY}/hyperparameters", [[]] * size),
        "keys": (f"{ENTRY}/decision", dict.fromkeys(map(str, range(size)))),
    }
    text = changed(*values[place])
    start = time.process_time()
    with pytest.raises(BundleError) as refused:
        read_format(Manifest, text, tmp_path / "m.json", BundleError)
    assert time.process_time() - start < 10
    one_sentence(refused.value)
