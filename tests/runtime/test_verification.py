"""`cad-edge verify` says what a detector would say, in the same words and without ONNX Runtime."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save

from cad_edge.cli import main
from cad_edge.errors import BundleError, CadEdgeError
from cad_edge.store.manifest import Stage
from cad_edge_runtime import Detector
from tests.runtime.golden_depth import give_depth
from tests.runtime.golden_words import give_words
from tests.runtime.onnx_bytes import field, node

pytestmark = pytest.mark.torchless


def verify(bundle, *options) -> tuple[int, list[str]]:
    done = CliRunner().invoke(main, ["verify", str(bundle), *options])
    assert isinstance(done.exception, SystemExit | None), repr(done.exception)
    return done.exit_code, [line.removeprefix("Error: ") for line in done.stderr.splitlines()]


def last_stage(workshop, name: str, **inputs: str) -> None:
    stage = workshop.store.manifest().tasks[name].engine.stages[-1]
    workshop.change_stage(name, Stage(graph=stage.graph, inputs={**stage.inputs, **inputs}))


def other_bank(workshop, **tensors: np.ndarray) -> None:
    engine = workshop.store.manifest().tasks["red"].engine
    sha = workshop.store.add_object({"tensors.safetensors": save(tensors)})
    changed = engine.model_copy(update={"tensors": sha})
    workshop.change_task("red", lambda one: one.model_copy(update={"engine": changed}))


def joint(workshop, repeats: int) -> None:
    engine = workshop.store.manifest().tasks["red"].engine
    changed = engine.model_copy(update={"tensors": None, "joint": [engine.tensors] * repeats})
    workshop.change_task("red", lambda one: one.model_copy(update={"engine": changed}))


def two_views(workshop) -> None:
    engine = workshop.store.manifest().tasks["red"].engine.model_copy(update={"views": 2})
    workshop.change_task("red", lambda one: one.model_copy(update={"engine": engine}))


def fewer_columns(workshop) -> None:
    def changed(manifest):
        selector = manifest.selector.model_copy(update={"tasks": ["red"]})
        return manifest.model_copy(update={"selector": selector})

    workshop.commit(changed)


FAULTS = {
    "source": (lambda one: last_stage(one, "red", features="7/features"), "from '7/features'"),
    "source of many digits": (
        lambda one: last_stage(one, "red", features="9" * 900 + "/features"),
        "takes 'features' from '9999",
    ),
    "source of strange digits": (lambda one: last_stage(one, "red", bank="²/x"), "from '²/x'"),
    "no such tensor": (lambda one: last_stage(one, "red", bank="tensor/memory"), "'memory'"),
    "no such output": (lambda one: last_stage(one, "red", features="0/colours"), "'colours'"),
    "tensor of another width": (
        lambda one: other_bank(one, bank=np.zeros((4, 5), np.float32)),
        r"the manifest binds float32 of shape (4, 5)",
    ),
    "tensor of another type": (
        lambda one: other_bank(one, bank=np.zeros((4, 8), np.int32)),
        "the manifest binds int32 of shape (4, 8)",
    ),
    "tensor of another type still": (
        lambda one: other_bank(one, bank=np.zeros((4, 8), np.float64)),
        "is of the type 'F64'",
    ),
    "one object many times": (lambda one: joint(one, 5000), "at most 4096 items"),
    "views": (two_views, "look at 1 and 2 views"),
    "columns": (fewer_columns, "gives 'distance' as float32 of shape (1, 3)"),
    "operator": (
        lambda one: one.change_graph("blue", one.graph("blue") + field(7, field(1, node("Tile")))),
        "the operator 'Tile' is none that an engine",
    ),
    "score": (
        lambda one: one.change_graph("blue", one.graph("blue").replace(b"score", b"scare")),
        "the output 'score' is missing",
    ),
    "frame": (
        lambda one: last_stage(one, "blue", image="frame/depth"),
        "the manifest binds float32",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_verify_and_opening_say_the_same(bundle, workshop, name):
    change, words = FAULTS[name]
    change(workshop)
    with pytest.raises(CadEdgeError) as problem:
        Detector.open(bundle, watch=False)
    said = str(problem.value)
    assert words in said and len(said) < 600 and "\n" not in said
    code, lines = verify(bundle)
    assert code == 1 and said in lines


def standing(bundle, *options) -> str:
    """What the last line says of the version in force, where something is wrong."""
    done = CliRunner().invoke(main, ["verify", str(bundle), *options])
    assert done.exit_code == 1 and done.stderr.startswith("Error: ")
    assert done.stdout.startswith(f"{bundle}: ") and done.stdout.count("\n") == 1
    return done.stdout.removeprefix(f"{bundle}: ").rstrip("\n")


def strayed(bundle, workshop):
    (bundle / "objects" / "notes.txt").write_text("from the last service")


def older_graph_changed(bundle, workshop):
    sha = workshop.store.manifest().tasks["blue"].engine.stages[-1].graph
    workshop.change_graph("blue", workshop.graph("blue") + field(2, b"another producer"))
    assert sha not in workshop.store.manifest().objects()
    path = bundle / "objects" / sha / "graph.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def older_manifest_gone_bad(bundle, workshop):
    sha = workshop.store.pointer().manifest
    workshop.change_graph("blue", workshop.graph("blue") + field(2, b"another producer"))
    (bundle / "manifests" / f"{sha}.json").write_text("{}")


@pytest.mark.parametrize("harm", [strayed, older_graph_changed, older_manifest_gone_bad])
def test_faults_beside_the_version_in_force_leave_it_sound(bundle, workshop, harm):
    harm(bundle, workshop)
    with Detector.open(bundle, watch=False) as detector:
        version = f"version {detector.version} is in force and itself sound"
    said = f"{version}: a detector opens it in spite of the faults found"
    assert standing(bundle) == said
    assert standing(bundle, "--open") == said.replace("it in", "it and answers in")


def test_a_fault_of_the_version_in_force_is_said_of_it(bundle, workshop):
    strayed(bundle, workshop)
    last_stage(workshop, "red", bank="tensor/memory")
    with pytest.raises(BundleError, match="memory"):
        Detector.open(bundle, watch=False)
    refused = "version 2 is in force and a detector would refuse it"
    assert standing(bundle) == standing(bundle, "--open") == refused


def test_a_changed_byte_that_no_check_but_the_hash_sees_is_said_of_it(bundle, workshop):
    sha = workshop.store.manifest().tasks["blue"].routing
    path = bundle / "objects" / sha / "routing.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert standing(bundle) == "version 1 is in force and a detector would refuse it"


def test_without_a_version_in_force_there_is_none_to_open(bundle):
    (bundle / "bundle.json").write_text("{")
    assert standing(bundle) == "no version is in force that a detector would open"


def test_every_fault_has_a_sentence(bundle, workshop):
    last_stage(workshop, "red", bank="tensor/memory")
    last_stage(workshop, "green", features="0/colours")
    code, lines = verify(bundle)
    assert code == 1 and len(lines) == 2
    assert "'memory'" in lines[0] + lines[1] and "'colours'" in lines[0] + lines[1]


def test_it_goes_without_onnx_runtime(bundle, workshop, tmp_path):
    give_words(workshop, "red")
    give_depth(workshop, "blue", stand_in=True)
    script = (
        "import sys; sys.modules['onnxruntime'] = None; sys.modules['tokenizers'] = None\n"
        "from cad_edge.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "verify", str(bundle)],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("is sound\n")


def test_open_inspects_a_frame_of_every_product(bundle, workshop, runs):
    give_depth(workshop, "blue", stand_in=True)
    done = CliRunner().invoke(main, ["verify", str(bundle), "--open", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("is sound and answers\n")
    manifest = workshop.store.manifest()
    engines = [manifest.selector.engine, *(entry.engine for entry in manifest.entries())]
    assert set(runs) == {stage.graph for engine in engines for stage in engine.stages}


def test_open_answers_in_words(bundle, workshop):
    pytest.importorskip("tokenizers")
    give_words(workshop, "red")
    assert verify(bundle, "--open") == (0, [])
    sha = workshop.store.add_object({"tokenizer.json": b"{"})

    def broken(entry):
        words = entry.explainer.model_copy(update={"tokenizer": sha})
        return entry.model_copy(update={"explainer": words})

    workshop.change_task("red", broken)
    assert verify(bundle) == (0, [])
    code, lines = verify(bundle, "--open")
    assert code == 1 and len(lines) == 1 and "tokenizer.json of object" in lines[0]
    said = "version 3 is in force and does not answer here for every product"
    assert standing(bundle, "--open") == said


def test_words_are_prepared_too(bundle, workshop):
    give_words(workshop, "red")
    sha = workshop.store.add_object(
        {"tensors.safetensors": save({"embedding": np.zeros((261, 9), np.float32)})}
    )

    def wide(entry):
        words = entry.explainer.model_copy(update={"embedding": sha})
        return entry.model_copy(update={"explainer": words})

    workshop.change_task("red", wide)
    code, lines = verify(bundle)
    assert code == 1 and lines[0].endswith("embedding is 9 wide; export the bundle again")


def test_an_object_of_more_bytes_than_any_is_not_hashed(bundle, workshop):
    sha = workshop.store.manifest().tasks["blue"].routing
    path = bundle / "objects" / sha / "routing.safetensors"
    os.truncate(path, 1 << 40)
    words = f"{path.parent} has {1 << 40} bytes, and no object has more"
    code, lines = verify(bundle)
    assert code == 1 and len(lines) == 1 and words in lines[0]
    with pytest.raises(BundleError, match="and no object has more"):
        Detector.open(bundle, watch=False)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there alone")
def test_a_folder_whose_name_is_not_utf8_is_not_called_a_broken_graph(bundle):
    odd = os.fsdecode(os.fsencode(bundle.parent) + b"/caf\xe9")
    shutil.copytree(bundle, odd)
    with pytest.raises(BundleError, match=r"caf\ufffd is not UTF-8, .* rename the folder"):
        Detector.open(odd, watch=False)


def test_a_list_of_joint_tensors_in_many_orders(bundle, workshop, monkeypatch):
    """Each order is a copy of its own in memory."""
    from cad_edge_runtime import preparation

    monkeypatch.setattr(preparation, "_TENSOR_BYTES", 1000)
    monkeypatch.setattr(preparation, "_COPIES", 1)
    engine = workshop.store.manifest().tasks["red"].engine
    bank = workshop.tensors(engine)["bank"]
    parts = [
        workshop.store.add_object({"tensors.safetensors": save({"bank": bank[cut].copy()})})
        for cut in (slice(0, 12), slice(12, 24))
    ]
    for name, order in (("red", parts), ("green", parts[::-1])):
        changed = engine.model_copy(update={"tensors": None, "joint": order})
        workshop.change_task(name, lambda one, new=changed: one.model_copy(update={"engine": new}))
    with pytest.raises(BundleError, match="in memory and 0 MiB on the disk"):
        Detector.open(bundle, watch=False)
    assert json.loads((bundle / "bundle.json").read_text())["version"] == 3
