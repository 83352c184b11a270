"""The inventory: what was seen is not looked at again, and what was forgotten is."""

import pytest

from cad_edge.errors import BundleError, IntegrityError
from cad_edge_runtime import inventory as module
from cad_edge_runtime.graph_sizes import Feed
from cad_edge_runtime.graph_summary import GraphLimits
from cad_edge_runtime.inventory import Inventory

pytestmark = pytest.mark.torchless
FRAME = {"image": Feed((1, 32, 32, 3), 2)}


@pytest.fixture
def hashed(workshop, monkeypatch) -> list[str]:
    """Objects that were hashed."""
    seen: list[str] = []
    inner = workshop.store.verify_object

    def counted(sha):
        seen.append(sha)
        return inner(sha)

    monkeypatch.setattr(workshop.store, "verify_object", counted)
    return seen


@pytest.fixture
def entry(workshop) -> str:
    """Graph that all tasks share."""
    return workshop.store.manifest().selector.engine.stages[0].graph


def test_a_graph_is_hashed_once_for_its_session_and_again_for_another(workshop, entry, hashed):
    inventory = Inventory(workshop.store)
    inventory.graph(entry, ["image"], ["features"])
    inventory.graph(entry, ["image"], ["statistics"])
    assert inventory.folder(entry) == workshop.store.object_folder(entry)
    assert hashed == [entry]
    inventory.folder(entry)
    assert hashed == [entry, entry]


def test_what_has_changed_since_is_found_before_another_session(bundle, workshop, entry):
    inventory = Inventory(workshop.store)
    inventory.graph(entry, ["image"], [])
    inventory.begin()
    path = bundle / "objects" / entry / "graph.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match=r"graph\.onnx changed"):
        inventory.folder(entry)


def test_what_is_forgotten_meanwhile_is_looked_at_again(workshop, entry, hashed, monkeypatch):
    monkeypatch.setattr(module, "_MOST_SIZES", 2)
    inventory = Inventory(workshop.store)
    first = inventory.outputs(entry, FRAME, 0)
    assert first["features"] == Feed((1, 8, 16, 16), 1)
    inventory.keep(set())
    assert inventory.outputs(entry, FRAME, 0) == first and hashed == [entry, entry]
    for count in range(1, 6):
        inventory.outputs(entry, {"image": Feed((count, 32, 32, 3), 2)}, 0, count)
    inventory.keep({entry})
    assert len(inventory._sizes) == 2


def test_an_object_may_have_so_many_bytes(workshop, entry, hashed):
    size = (workshop.store.object_folder(entry) / "graph.onnx").stat().st_size
    Inventory(workshop.store, GraphLimits(folder_bytes=size)).hashed(entry)
    with pytest.raises(BundleError, match=f"has {size} bytes, and no object has more"):
        Inventory(workshop.store, GraphLimits(folder_bytes=size - 1)).hashed(entry)
    assert hashed == [entry]
