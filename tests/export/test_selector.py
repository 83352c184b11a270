"""The selector's graphs against the numpy form, for both kinds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cad_edge.routing import fit_discriminant, from_tensors
from cad_edge.store.artifact import read_artifact
from cad_edge_export.fusions import load_fusion
from cad_edge_export.graph_files import open_graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.selector import fuse_selector
from cad_edge_export.trunk import entry_stage
from cad_edge_training.backbones import load_backbone
from cad_edge_training.routing_statistics import describe
from tests.training.small_products import NAMES, spoil, texture


def first_stage(backbone):
    return entry_stage(backbone, 1, "fp32")


@pytest.fixture(scope="module")
def backbone(dinov2):
    return load_backbone(f"dinov2:{dinov2}", 56)


@pytest.fixture(scope="module")
def statistics(tiny):
    return {name: from_tensors(read_artifact(tiny / name).routing) for name in NAMES}


@pytest.fixture(scope="module")
def images(backbone):
    """(18, 56, 56, 3): three good and three spoiled parts of every product, in order of name."""
    rng = np.random.default_rng(21)
    frames = []
    for name in NAMES:
        good = [texture(name, rng) for _ in range(3)]
        frames += [backbone.recipe.apply(one) for one in [*good, *map(spoil, good)]]
    return np.stack(frames)


@pytest.fixture(scope="module", params=["discriminant", "key_set"])
def selector(request, statistics, backbone):
    """Kind, what `fuse_selector` gave, and its graphs."""
    fused, radii = fuse_selector(
        request.param, statistics, backbone, 2, entry_stage(backbone, 1, "fp32"), "fp32"
    )
    return request.param, fused, radii, [to_onnx(stage) for stage in fused.stages]


def distances(fused, graphs, images) -> np.ndarray:
    values = {"frame/image": images}
    values |= {f"tensor/{name}": tensor for name, tensor in fused.tensors.items()}
    for number, (stage, graph) in enumerate(zip(fused.stages, graphs, strict=True)):
        session = open_graph(graph)
        feeds = {item.name: values[item.source] for item in stage.inputs}
        out = session.run(list(stage.outputs), feeds)
        values |= {f"{number}/{name}": one for name, one in zip(stage.outputs, out, strict=True)}
    return values["1/distance"]


def by_hand(kind, statistics, backbone, images) -> np.ndarray:
    with torch.inference_mode():
        states = backbone.run(backbone.normalise(torch.from_numpy(images)), 2)
        descriptors = describe(backbone, states).double().numpy()
        patches = backbone.feature_map(states[2]).flatten(2).transpose(1, 2).double().numpy()
    if kind == "discriminant":
        return fit_discriminant(statistics).distances(descriptors)
    columns = []
    for name in sorted(statistics):
        keys = statistics[name].keys.astype(np.float64)
        gaps = np.linalg.norm(patches[:, :, None] - keys[None, None], axis=3)
        columns.append(gaps.min(axis=2).mean(axis=1))
    return np.stack(columns, axis=1)


def test_graph_is_the_numpy_form(selector, statistics, backbone, images):
    kind, fused, radii, graphs = selector
    assert list(radii) == sorted(NAMES)
    got = distances(fused, graphs, images)
    expected = by_hand(kind, statistics, backbone, images)
    assert got.shape == (18, 3) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * expected.mean())


def test_products_are_told_apart_and_strangers_are_far(selector, images, rng):
    kind, fused, radii, graphs = selector
    got = distances(fused, graphs, images)
    expected = np.repeat(np.arange(3), 6)
    assert (got.argmin(axis=1) == expected).all()
    noise = rng.integers(0, 256, (4, *images.shape[1:]), dtype=np.uint8)
    assert (distances(fused, graphs, noise) > np.array(list(radii.values()))).all(), kind


def test_a_graph_serves_any_number_of_tasks(selector, statistics, backbone, images):
    """The same bytes with the tensors of one task give that task's column."""
    kind, _, radii, graphs = selector
    for count in (1, 2):
        some = {name: statistics[name] for name in list(radii)[:count]}
        fewer, _ = fuse_selector(kind, some, backbone, 2, entry_stage(backbone, 1, "fp32"), "fp32")
        got = distances(fewer, graphs, images)
        expected = by_hand(kind, some, backbone, images)
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * expected.mean())


def test_order_of_learning_changes_no_byte(statistics, backbone):
    for kind in ("discriminant", "key_set"):
        first, radii = fuse_selector(
            kind, statistics, backbone, 2, entry_stage(backbone, 1, "fp32"), "fp32"
        )
        turned = dict(reversed(statistics.items()))
        again, others = fuse_selector(
            kind, turned, backbone, 2, entry_stage(backbone, 1, "fp32"), "fp32"
        )
        assert list(radii.items()) == list(others.items())
        for name, tensor in first.tensors.items():
            assert tensor.tobytes() == again.tensors[name].tobytes()


def test_a_key_set_has_a_radius_per_task_of_its_own_held_out_distances(statistics, backbone):
    first, *_ = names = sorted(statistics)
    farther = replace(statistics[first], key_distances=3 * statistics[first].key_distances)
    changed = {**statistics, first: farther}
    _, before = fuse_selector("key_set", statistics, backbone, 2, first_stage(backbone), "fp32")
    _, after = fuse_selector("key_set", changed, backbone, 2, first_stage(backbone), "fp32")
    assert after[first] == pytest.approx(3 * before[first])
    assert all(after[name] == before[name] for name in names[1:])


def test_frame_and_engine_share_their_first_stage(tiny, backbone, statistics):
    task = read_artifact(tiny / NAMES[0])
    engine = load_fusion("patch_memory", "shared")(task, backbone, "fp32")
    selector, _ = fuse_selector(
        "discriminant", statistics, backbone, 2, entry_stage(backbone, 1, "fp32"), "fp32"
    )
    assert engine.stages[0].shared_key == selector.stages[0].shared_key is not None


def test_short_key_sets_are_padded_without_effect(statistics, backbone, images, selector):
    kind, fused, radii, graphs = selector
    if kind == "discriminant":
        pytest.skip("it has no key set")
    short = {name: statistics[name] for name in radii}
    name, last = list(short.items())[-1]
    short[name] = type(last)(**{**vars(last), "keys": last.keys[:3]})
    padded, _ = fuse_selector(kind, short, backbone, 2, first_stage(backbone), "fp32")
    assert padded.tensors["keys"].shape == fused.tensors["keys"].shape
    expected = by_hand(kind, short, backbone, images)
    got = distances(padded, graphs, images)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * expected.mean())
