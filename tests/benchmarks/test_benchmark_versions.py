"""Versions made of a bundle alone: tasks left out, resampled copies, and accepting all."""

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save

from cad_edge.errors import OptionError
from cad_edge.recognition import REJECTION_MARGIN
from cad_edge.routing import fit_discriminant, from_tensors, summarise
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.benchmark.accept_all import accept_all_version
from cad_edge_benchmarks.benchmark.scaling import SelectionAlone
from cad_edge_benchmarks.instruments.synthetic_tasks import VersionMaker
from cad_edge_runtime import Detector
from cad_edge_runtime.selection import TaskDistances
from cad_edge_runtime.session import SessionFactory
from cad_edge_runtime.snapshot import open_snapshot

WIDTH = 6  # numbers of the golden trunk's descriptor


def discriminant_graph() -> bytes:
    """What the exporter writes as selector: |descriptor @ matrix + bias - keys|."""
    nodes = [
        helper.make_node("MatMul", ["descriptor", "matrix"], ["turned"]),
        helper.make_node("Add", ["turned", "bias"], ["points"]),
        helper.make_node("Unsqueeze", ["points", "axis"], ["one"]),
        helper.make_node("Sub", ["one", "keys"], ["difference"]),
        helper.make_node("ReduceL2", ["difference"], ["distance"], axes=[2], keepdims=0),
    ]
    shapes = {
        "descriptor": ["batch", WIDTH],
        "matrix": [WIDTH, WIDTH],
        "bias": [WIDTH],
        "keys": ["tasks", WIDTH],
    }
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    output = helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["batch", "tasks"])
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    graph = helper.make_graph(nodes, "discriminant", inputs, [output], [axis])
    opset = [helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def descriptors(frames):
    """(n, 6) mean and deviation of each channel, as the golden trunk gives them."""
    scaled = frames.reshape(len(frames), -1, 3).astype(np.float64) / 255
    return np.concatenate([scaled.mean(axis=1), scaled.std(axis=1)], axis=1)


@pytest.fixture
def discriminant(golden, products, rng):
    """The golden bundle with a discriminant as its selector, routed as the exporter does it."""
    store = Bundle(golden)
    manifest = store.manifest()
    statistics = {
        name: summarise(
            descriptors(np.stack([one.image for one in product[:2]]).repeat(10, axis=0))
            + rng.normal(0, 0.01, (20, WIDTH)),
            np.zeros((4, 3), np.float32),
            np.ones(4, np.float32),
        )
        for name, product in products.items()
    }
    fitted = fit_discriminant(statistics)
    entry, last = manifest.selector.engine.stages
    graph = store.add_object({"graph.onnx": discriminant_graph()})
    sources = {name: f"tensor/{name}" for name in ("matrix", "bias", "keys")}
    stage = last.model_copy(
        update={"graph": graph, "inputs": {"descriptor": "0/statistics", **sources}}
    )
    engine = manifest.selector.engine.model_copy(
        update={
            "stages": [entry, stage],
            "tensors": store.add_object({"tensors.safetensors": save(fitted.to_tensors())}),
        }
    )
    tasks = {
        name: task.model_copy(
            update={
                "radius": REJECTION_MARGIN * fitted.radii[fitted.tasks.index(name)],
                "routing": store.add_object(
                    {"tensors.safetensors": save(statistics[name].to_tensors())}
                ),
            }
        )
        for name, task in manifest.tasks.items()
    }
    selector = manifest.selector.model_copy(
        update={"kind": "discriminant", "engine": engine, "tasks": list(fitted.tasks)}
    )
    update = {"version": 2, "previous": store.pointer().manifest}
    with store.lock():
        store.commit(manifest.model_copy(update={"selector": selector, "tasks": tasks, **update}))
    return golden


def contents(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def held_statistics(bundle):
    """Routing statistics of every task of the version in force, read from the bundle."""
    store = Bundle(bundle)
    return {
        name: from_tensors(load_file(store.object_folder(entry.routing) / "tensors.safetensors"))
        for name, entry in store.manifest().tasks.items()
    }


@pytest.mark.parametrize("kind", ["key_set", "discriminant"])
def test_a_grown_bundle_is_sound_and_recognises_its_products(kind, request, products, tmp_path):
    bundle = request.getfixturevalue("golden" if kind == "key_set" else "discriminant")
    before = contents(bundle)
    maker = VersionMaker(bundle, tmp_path / "grown", seed=0, keeps_radius=False)
    names = maker.names(20, "red")
    maker.commit(names)
    assert contents(bundle) == before
    assert (names[0], len({*names})) == ("red", 20)
    assert Bundle(tmp_path / "grown").verify() == []
    with Detector.open(tmp_path / "grown", device="cpu", watch=False) as detector:
        assert detector.tasks() == tuple(sorted(names))
        for product in ("red", "green"):
            found = detector.detect(products[product][0].image)
            assert (found.task.split("-")[0], found.verdict) == (product, "normal")
            defective = detector.detect(products[product][2].image, task=found.task)
            assert defective.verdict == "anomalous"


def test_every_copy_has_objects_of_its_own_and_is_called_a_copy(discriminant, tmp_path):
    maker = VersionMaker(discriminant, tmp_path / "grown", seed=0, keeps_radius=False)
    maker.commit(maker.names(9, "red"))
    tasks = Bundle(tmp_path / "grown").manifest().tasks
    shared = [task for task in tasks.values() if task.engine.tensors]
    assert len({task.engine.tensors for task in shared}) == len(shared) == 8  # blue is fused
    assert len({task.routing for task in tasks.values()}) == 9
    copies = {name: task for name, task in tasks.items() if "-" in name}
    assert len(copies) == 6
    assert all("copy of" in task.certificate.reference for task in copies.values())
    assert len({task.position for task in tasks.values()}) == 9


def test_the_selector_is_that_of_the_statistics_of_its_tasks(discriminant, products, tmp_path):
    maker = VersionMaker(discriminant, tmp_path / "grown", seed=0, keeps_radius=False)
    maker.commit(maker.names(7, "green"))
    fitted = fit_discriminant(held_statistics(tmp_path / "grown"))
    store = Bundle(tmp_path / "grown")
    snapshot = open_snapshot(store, store.pointer(), SessionFactory("cpu", 1, store), previous=None)
    frame = products["green"][0].image
    distances = fitted.distances(descriptors(frame[None]))[0]
    chosen = SelectionAlone(snapshot, frame).run(0)
    assert snapshot.columns == fitted.tasks
    radii = [REJECTION_MARGIN * radius for radius in fitted.radii]
    assert snapshot.reaches == tuple(TaskDistances(radius, radius) for radius in radii)
    order = np.argsort(distances)
    assert chosen.task == fitted.tasks[order[0]]
    assert chosen.runner_up.task == fitted.tasks[order[1]]
    expected = 1 / (1 + (distances[order[0]] / radii[order[0]]) ** 2)
    assert chosen.similarity == pytest.approx(expected, rel=1e-3)


def test_a_copy_is_a_bootstrap_sample_whose_mean_moves_with_it(discriminant, tmp_path):
    maker = VersionMaker(discriminant, tmp_path / "grown", seed=0, keeps_radius=False)
    maker.commit(maker.names(4, "red"))
    statistics = held_statistics(tmp_path / "grown")
    (name,) = statistics.keys() - {"red", "green", "blue"}
    copy, original = statistics[name], statistics[name.split("-")[0]]
    kept = {sample.tobytes() for sample in original.samples}
    assert len(copy.samples) == len(original.samples)
    assert {sample.tobytes() for sample in copy.samples} < kept
    moved = copy.samples.mean(axis=0) - original.samples.mean(axis=0)
    assert copy.mean - original.mean == pytest.approx(moved, abs=1e-6)
    assert np.array_equal(copy.scatter, original.scatter)
    assert not np.array_equal(copy.mean, original.mean)


def test_the_same_seed_makes_the_same_bytes(golden, tmp_path):
    found = []
    for place in ("one", "other"):
        maker = VersionMaker(golden, tmp_path / place, seed=3, keeps_radius=False)
        found.append(maker.commit(maker.names(6, "red")).manifest)
    assert found[0] == found[1]


def test_tasks_can_be_left_out(discriminant, products, tmp_path):
    maker = VersionMaker(discriminant, tmp_path / "cut", seed=0, keeps_radius=False)
    maker.commit(maker.names(1, "green"))
    with Detector.open(tmp_path / "cut", device="cpu", watch=False) as detector:
        assert detector.tasks() == ("green",)
        assert detector.detect(products["green"][0].image).task == "green"
        assert detector.detect(products["blue"][0].image).verdict == "unknown_product"


def test_fused_tasks_alone_cannot_be_copied(golden, tmp_path):
    maker = VersionMaker(golden, tmp_path / "one", seed=0, keeps_radius=False)
    maker.commit(["blue"])
    alone = VersionMaker(tmp_path / "one", tmp_path / "fused", seed=0, keeps_radius=False)
    assert alone.names(1, "blue") == ("blue",)
    with pytest.raises(OptionError, match="--layout shared"):
        alone.names(2, "blue")


def test_a_accept_all_version_lets_everything_pass_and_writes_nothing_into_the_bundle(
    golden, rng, tmp_path
):
    before = contents(golden)
    strange = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with Detector.open(golden, device="cpu", watch=False) as detector:
        assert detector.detect(strange).verdict == "unknown_product"
        assert detector.detect(strange, task="red").verdict == "anomalous"
        scores = {name: detector.detect(strange, task=name).score for name in detector.tasks()}
    with Detector.open(
        accept_all_version(golden, tmp_path / "accept-all"), device="cpu", watch=False
    ) as detector:
        assert detector.detect(strange).verdict == "normal"
        for name, score in scores.items():
            found = detector.detect(strange, task=name)
            assert (found.verdict, found.score) == ("normal", score)
    assert contents(golden) == before


def test_a_version_made_of_one_that_accepts_all_accepts_all(golden, rng, tmp_path):
    accepting = accept_all_version(golden, tmp_path / "accept-all")
    maker = VersionMaker(accepting, tmp_path / "grown", seed=0, keeps_radius=True)
    maker.commit(maker.names(5, "red"))
    strange = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with Detector.open(tmp_path / "grown", device="cpu", watch=False) as detector:
        assert detector.detect(strange).verdict == "normal"


def test_the_selection_alone_runs_no_stage_that_an_engine_shares(golden, products, monkeypatch):
    store = Bundle(golden)
    snapshot = open_snapshot(store, store.pointer(), SessionFactory("cpu", 1, store), previous=None)
    alone = SelectionAlone(snapshot, products["red"][0].image)
    seen = []
    for step in snapshot.selector.steps:
        inner = step.session.run
        monkeypatch.setattr(
            step.session,
            "run",
            lambda outputs, feed, graph=step.session.graph, inner=inner: (
                seen.append(graph) or inner(outputs, feed)
            ),
        )
    assert alone.run(0).task == "red"
    assert seen == [snapshot.selector.steps[-1].session.graph]
