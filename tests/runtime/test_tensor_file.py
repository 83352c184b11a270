"""Tensor files: the header is held against the file before anything is read."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from cad_edge.errors import BundleError, IntegrityError
from cad_edge_runtime import Detector
from cad_edge_runtime.tensor_file import LARGEST_FILE, read_header

pytestmark = pytest.mark.torchless
SHA = "a" * 64


def written(tmp_path, header: object, rest: bytes = b"", length: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    (tmp_path / "tensors.safetensors").write_bytes(size.to_bytes(8, "little") + text + rest)
    return tmp_path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_every_type_is_read_as_the_package_reads_it(tmp_path, rng):
    kinds = (np.float32, np.float16, np.int64, np.int32, np.int8, np.uint8, np.bool_)
    arrays = {np.dtype(kind).name: rng.integers(0, 2, (3, 2)).astype(kind) for kind in kinds}
    arrays |= {"none": np.zeros((0, 4), np.float32), "one": np.array(2.5, np.float32)}
    data = save(arrays, metadata={"made": "by"})
    (tmp_path / "tensors.safetensors").write_bytes(data)
    file = read_header(tmp_path, SHA)
    found, digest = file.read()
    assert digest == hashlib.sha256(data).hexdigest()
    assert file.bytes == sum(array.nbytes for array in arrays.values())
    for name, array in load(data).items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F4", "F64", "U64", "C64", ""])
def test_types_that_no_graph_is_bound_to_are_named(tmp_path, dtype):
    folder = written(tmp_path, {"bank": entry(dtype, [4], 0, 8)}, bytes(8))
    with pytest.raises(BundleError, match=f"'bank' of .* is of the type {dtype!r}, and graphs"):
        read_header(folder, SHA)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F4", "F64"])
def test_a_detector_names_them_too(bundle, workshop, dtype):
    sizes = {"BF16": 2, "F64": 8}
    text = json.dumps({"bank": entry(dtype, [8, 8], 0, 64 * sizes.get(dtype, 1))}).encode()
    data = len(text).to_bytes(8, "little") + text + bytes(64 * sizes.get(dtype, 1))
    sha = workshop.store.add_object({"tensors.safetensors": data})
    engine = workshop.store.manifest().tasks["red"].engine.model_copy(update={"tensors": sha})
    workshop.change_task("red", lambda one: one.model_copy(update={"engine": engine}))
    with pytest.raises(BundleError, match=f"is of the type {dtype!r}"):
        Detector.open(bundle, watch=False)


F32 = entry("F32", [2], 0, 8)
BROKEN = {
    "length": ({"a": F32}, bytes(8), 1 << 63),
    "no object": ([], b"", None),
    "no json": (b'{"a": ', b"", None),
    "nested": (b'{"a":' * 5000 + b"1" + b"}" * 5000, b"", None),
    "not text": (b"\xff\xff\xff", b"", None),
    "twice": (b'{"a": 1, "a": 2}', b"", None),
    "entry": ({"a": 1}, b"", None),
    "keys": ({"a": {**F32, "more": 1}}, bytes(8), None),
    "shape": ({"a": entry("F32", [-2], 0, 8)}, bytes(8), None),
    "shape of words": ({"a": {**F32, "shape": ["2"]}}, bytes(8), None),
    "enormous": ({"a": entry("F32", [1 << 33, 1 << 33, 0], 0, 0)}, b"", None),
    "offsets": ({"a": {**F32, "data_offsets": [0, 8, 9]}}, bytes(8), None),
    "true": ({"a": {**F32, "data_offsets": [False, 8]}}, bytes(8), None),
    "other size": ({"a": entry("F32", [3], 0, 8)}, bytes(8), None),
    "gap": ({"a": entry("F32", [2], 4, 12)}, bytes(12), None),
    "overlap": ({"a": F32, "b": F32}, bytes(8), None),
    "more bytes": ({"a": F32}, bytes(9), None),
    "fewer bytes": ({"a": F32}, bytes(7), None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_headers(tmp_path, name):
    header, rest, length = BROKEN[name]
    with pytest.raises(IntegrityError, match=r"tensors\.safetensors is broken \(.*\); export"):
        read_header(written(tmp_path, header, rest, length), SHA)


def test_what_is_no_file_or_none_of_a_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"holds no tensors\.safetensors"):
        read_header(tmp_path, SHA)
    path = tmp_path / "tensors.safetensors"
    path.mkdir()
    with pytest.raises(BundleError, match="is no plain file"):
        read_header(tmp_path, SHA)
    path.rmdir()
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(BundleError, match=f"has {LARGEST_FILE + 1} bytes"):
        read_header(tmp_path, SHA)


def test_a_file_that_has_become_shorter(tmp_path):
    folder = written(tmp_path, {"a": F32}, bytes(8))
    file = read_header(folder, SHA)
    with (folder / "tensors.safetensors").open("r+b") as cut:
        cut.truncate(file.start + 4)
    with pytest.raises(IntegrityError, match="it has become shorter"):
        file.read()


def test_a_changed_header_is_said_to_be_changed(bundle, workshop):
    """And not to be broken: another export would not cure a bad copy."""
    sha = workshop.store.manifest().tasks["red"].engine.tensors
    path = bundle / "objects" / sha / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"is not what its sha256 says: tensors\.safetensors"):
        Detector.open(bundle, watch=False)
