"""The written formats, byte by byte.

A failure here means that files in the field would be read or written differently: raise the format
number, say in docs/formats.md what changed, and only then renew tests/golden.
"""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from cad_edge.calibration import Calibration, Decision
from cad_edge.data.image import ImageRecipe
from cad_edge.errors import ArtifactError, BundleError
from cad_edge.schema import canonical_json, sha256_of
from cad_edge.store.artifact import Artifact, BackboneIdentity, Provenance, read_record
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import (
    Certificate,
    Engine,
    Explainer,
    Manifest,
    Pointer,
    Selector,
    Stage,
    TaskEntry,
    Texts,
    WordsCertificate,
)

pytestmark = pytest.mark.torchless

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"

BACKBONE = BackboneIdentity(id="efficientnet-lite0", sha256="0" * 64)
RECIPE = ImageRecipe(width=224, height=192)
CALIBRATION = Calibration(
    scheme="cross", folds=5, scores=[0.125, 0.25, 1.5], map_peaks=[0.5, 0.75, 2.0]
)
PROVENANCE = Provenance(
    seed=7,
    versions={"cad-edge": "0.1.0", "torch": "2.13.0"},
    data_sha256="1" * 64,
    images=120,
    seconds=12.5,
)
DECISION = Decision(
    false_reject_rate=0.05,
    threshold=1.5,
    map_threshold=2.0,
    minimum_area=9,
    images=3,
    images_needed=19,
)
CERTIFICATE = Certificate(
    reference="torch 2.13.0",
    runtime="onnxruntime 1.31.1 CPU",
    witness_images=4,
    adversarial_images=5,
    tolerance=0.0001,
    score_range=1.25,
    score_max=1e-06,
    score_mean=5e-07,
    map_max=2e-06,
    map_mean=None,
    flips=0,
)
ARTIFACT = Artifact(
    method="cmpmb",
    task="pcb-A.1",
    position=3,
    backbone=BACKBONE,
    recipe=RECIPE,
    hyperparameters={"bank": 256, "whiten": True, "prompt_from_block": None, "blocks": [4, 10]},
    calibration=CALIBRATION,
    false_reject_rate=0.05,
    provenance=PROVENANCE,
)


def engine(tensors: str | None, bound: dict[str, str]) -> Engine:
    stages = [
        Stage(graph="2" * 64, inputs={"image": "frame/image"}),
        Stage(graph="3" * 64, inputs={"features": "0/features", **bound}),
    ]
    return Engine(recipe=RECIPE, stages=stages, tensors=tensors, layout="shared", precision="fp32")


EXPLAINER = Explainer(
    engine=engine("6" * 64, {}),
    tokens="1/tokens",
    decoder=Stage(
        graph="8" * 64,
        inputs={
            "embeddings": "loop/embeddings",
            "past_keys": "loop/keys",
            "past_values": "loop/values",
            "experts": "tensor/experts",
        },
    ),
    layers=24,
    kv_heads=2,
    head_width=64,
    positions=1024,
    embedding="9" * 64,
    tokenizer="a" * 64,
    texts=Texts(
        before_image="<|im_start|>user\n",
        after_image="\n",
        after_question="<|im_end|>\n<|im_start|>assistant\n",
        between_turns="<|im_end|>\n<|im_start|>user\n",
        question="What is wrong with the object?",
        stop=[151645],
    ),
    certificate=WordsCertificate(
        reference="torch 2.13.0",
        runtime="onnxruntime 1.31.1 CPU",
        witness_images=4,
        tokens_each=6,
        tolerance=0.0001,
        logit_range=32.5,
        logit_max=1e-06,
        other_tokens=0,
    ),
)
MANIFEST = Manifest(
    version=2,
    previous="4" * 64,
    backbone=BACKBONE,
    selector=Selector(kind="discriminant", engine=engine(None, {}), tasks=["pcb-A.1"]),
    tasks={
        "pcb-A.1": TaskEntry(
            method="cmpmb",
            position=3,
            artifact="5" * 64,
            engine=engine("6" * 64, {"bank": "tensor/bank", "depth": "frame/depth"}),
            routing="7" * 64,
            radius=21.5,
            calibration=CALIBRATION,
            decision=DECISION,
            certificate=CERTIFICATE,
            hyperparameters=ARTIFACT.hyperparameters,
            provenance=PROVENANCE,
            explainer=EXPLAINER,
        )
    },
)
RECORDS = {"artifact": ARTIFACT, "manifest": MANIFEST}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_written_as_these_bytes_and_read_back(name):
    golden = (GOLDEN / f"{name}.json").read_bytes()
    assert canonical_json(RECORDS[name]) == golden
    assert type(RECORDS[name]).model_validate_json(golden) == RECORDS[name]


@pytest.mark.parametrize("record", [CALIBRATION, DECISION])
def test_groups_are_written_where_there_are_some_and_nowhere_else(record):
    """So that artifacts and manifests without them keep the bytes they had before groups."""
    assert b"groups" not in canonical_json(record)
    grouped = record.model_copy(update={"groups": 2})
    assert json.loads(canonical_json(grouped)) == record.model_dump() | {"groups": 2}
    assert type(record).model_validate_json(canonical_json(grouped)) == grouped
    whole = MANIFEST.tasks["pcb-A.1"].model_copy(
        update={"calibration": CALIBRATION.model_copy(update={"groups": 2})}
    )
    assert b'"groups": 2' in canonical_json(whole)


def test_levels_are_written_where_an_engine_tells_some_apart_and_nowhere_else():
    """So that manifests of engines without them keep the bytes that they had before."""
    entry = MANIFEST.tasks["pcb-A.1"]
    assert entry.levels == [] and b'"levels"' not in canonical_json(MANIFEST)
    named = entry.model_copy(update={"levels": ["patch", "global"]})
    assert json.loads(canonical_json(named))["levels"] == ["patch", "global"]
    assert TaskEntry.model_validate_json(canonical_json(named)) == named


@pytest.mark.parametrize("levels", [["patch", "patch"], [""], [f"{n}" for n in range(65)], "patch"])
def test_levels_that_cannot_be_told_apart_are_refused(levels):
    record = MANIFEST.tasks["pcb-A.1"].model_dump(mode="json") | {"levels": levels}
    with pytest.raises(ValidationError, match="levels"):
        TaskEntry.model_validate_json(json.dumps(record))


def test_the_pointer_is_written_as_these_bytes():
    text = canonical_json(Pointer(manifest="8" * 64, version=7)).decode()
    assert text == f'{{\n "format": 1,\n "manifest": "{"8" * 64}",\n "version": 7\n}}\n'


def test_an_object_is_named_by_these_bytes(tmp_path):
    """The sha256 of ``printf 'b\\0<sha of B>\\nc\\0<sha of C>\\n'``, in sorted order."""
    files = {"c": b"C", "b": b"B"}
    listing = f"b\0{sha256_of(b'B')}\nc\0{sha256_of(b'C')}\n".encode()
    assert Bundle(tmp_path).add_object(files) == sha256_of(listing)


def test_the_manifest_names_its_objects():
    assert MANIFEST.objects() == {digit * 64 for digit in "236789a"}


def test_a_task_without_words_reads_as_before():
    record = json.loads((GOLDEN / "manifest.json").read_text())
    del record["tasks"]["pcb-A.1"]["explainer"]
    read = Manifest.model_validate_json(json.dumps(record))
    assert read.tasks["pcb-A.1"].explainer is None
    assert read.objects() == {digit * 64 for digit in "2367"}


@pytest.mark.parametrize("name", RECORDS)
def test_an_unknown_key_is_refused(name):
    record = json.loads((GOLDEN / f"{name}.json").read_text())
    record["threshhold"] = 1.0
    with pytest.raises(ValidationError, match="threshhold"):
        type(RECORDS[name]).model_validate_json(json.dumps(record))


def test_another_format_number_is_refused_with_a_sentence(tmp_path):
    record = json.loads((GOLDEN / "artifact.json").read_text())
    (tmp_path / "artifact.json").write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(ArtifactError, match="has format 2, this version reads format 1"):
        read_record(tmp_path)
    data = json.dumps({**json.loads((GOLDEN / "manifest.json").read_text()), "format": 2}).encode()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / f"{sha256_of(data)}.json").write_bytes(data)
    with pytest.raises(BundleError, match="has format 2, this version reads format 1"):
        Bundle(tmp_path).manifest(sha256_of(data))


def fields_of(value: object) -> set[str]:
    """Every key that the program, not the user, has chosen."""
    chosen_by_user = {"hyperparameters", "versions", "inputs"}
    if isinstance(value, list):
        return set().union(*map(fields_of, value))
    if not isinstance(value, dict):
        return set()
    inner = (fields_of(part) for key, part in value.items() if key not in chosen_by_user)
    return set(value).union(*inner)


def test_every_field_is_documented():
    document = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    # Which the records above leave out.
    assert "`groups`" in document and "`levels`" in document
    names = set().union(*(fields_of(record.model_dump(mode="json")) for record in RECORDS.values()))
    assert [name for name in sorted(names - {"pcb-A.1"}) if f"`{name}`" not in document] == []
