"""The golden bundle as a product line: three products with good and defective test images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save

from cad_edge.store.artifact import Artifact, write_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_studies.open_set import LabelledFrame

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PRODUCTS = ("red", "green", "blue")


@pytest.fixture
def golden(tmp_path) -> Path:
    return Path(shutil.copytree(GOLDEN / "bundle", tmp_path / "bundle"))


@pytest.fixture
def products() -> dict[str, list[LabelledFrame]]:
    """Two good and two defective frames of each product."""
    frames = load_file(GOLDEN / "frames.safetensors")
    return {
        name: [
            LabelledFrame(name, kind == "bad", frame)
            for kind in ("good", "bad")
            for frame in frames[f"{name}.{kind}"]
        ]
        for name in PRODUCTS
    }


@pytest.fixture
def stream_file(tmp_path, products) -> Path:
    """A stream of the products in the MVTec AD layout; blue has no masks."""
    mask = np.zeros((32, 32), np.uint8)
    mask[8:14, 20:26] = 255
    for name, product in products.items():
        folder = tmp_path / "data" / name
        places = ["train/good", "test/good", "test/square"]
        places += [] if name == "blue" else ["ground_truth/square"]
        for place in places:
            (folder / place).mkdir(parents=True)
        Image.fromarray(product[0].image).save(folder / "train/good/0.png")
        for number, frame in enumerate(product):
            kind = "square" if frame.anomalous else "good"
            Image.fromarray(frame.image).save(folder / f"test/{kind}/{number}.png")
            if kind == "square" and name != "blue":
                Image.fromarray(mask).save(folder / f"ground_truth/square/{number}_mask.png")
    target = tmp_path / "stream.json"
    tasks = [{"name": name, "path": f"data/{name}"} for name in PRODUCTS]
    target.write_text(json.dumps({"name": "line", "false_reject_rate": 0.05, "tasks": tasks}))
    return target


@pytest.fixture
def with_blue() -> bytes:
    """Pointer of the golden bundle as it is."""
    return (GOLDEN / "bundle" / "bundle.json").read_bytes()


def keep_products(bundle: Path, names: tuple[str, ...]) -> None:
    """Put a version with only ``names``, the first ones of `PRODUCTS`, into a golden bundle."""
    store = Bundle(bundle)
    with store.lock():
        pointer, manifest = store.pointer(), store.manifest()
        engine = manifest.selector.engine
        keys = load_file(store.object_folder(engine.tensors) / "tensors.safetensors")["keys"]
        fewer = store.add_object({"tensors.safetensors": save({"keys": keys[: len(names)]})})
        selector = manifest.selector.model_copy(
            update={
                "engine": engine.model_copy(update={"tensors": fewer}),
                "tasks": manifest.selector.tasks[: len(names)],
            }
        )
        tasks = {name: manifest.tasks[name] for name in names}
        update = {"version": pointer.version + 1, "previous": pointer.manifest}
        store.commit(manifest.model_copy(update={"selector": selector, "tasks": tasks, **update}))


@pytest.fixture
def without_blue(golden) -> bytes:
    """Put a version without the product blue into the golden bundle; its pointer."""
    keep_products(golden, ("red", "green"))
    return (golden / "bundle.json").read_bytes()


@pytest.fixture
def export_golden():
    """Stand in for the exporter: the golden bundle cut down to the artifacts' names."""

    def export(artifacts, bundle, staging, layout="shared"):
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(GOLDEN / "bundle", bundle)
        names = tuple(path.name for path in artifacts)
        if names == PRODUCTS[: len(names)]:
            keep_products(bundle, names)

    return export


@pytest.fixture
def artifacts(tmp_path) -> list[Path]:
    """Artifacts by the names of the golden products; only their records matter."""
    record = Artifact.model_validate_json((GOLDEN / "artifact.json").read_bytes())
    recipe = record.recipe.model_copy(update={"width": 32, "height": 32})
    none = {"x": np.zeros(1, np.float32)}
    return [
        write_artifact(
            tmp_path / "artifacts",
            record.model_copy(update={"task": name, "position": position, "recipe": recipe}),
            none,
            none,
            none,
        )
        for position, name in enumerate(PRODUCTS)
    ]
