"""Adding tasks one after another: nothing older moves, and the way there leaves no trace."""

import itertools
import shutil

import pytest

from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_artifacts, export_folder
from cad_edge_export.plan import ExportPlan
from tests.export.conftest import export
from tests.training.small_products import NAMES, quiet


@pytest.fixture(scope="module")
def one_by_one(tiny, tiny_first, dinov2, tmp_path_factory):
    """Bundle with one version per task, and its files after each version."""
    bundle = shutil.copytree(tiny_first, tmp_path_factory.mktemp("grown") / "bundle")
    files = [content(bundle)]
    for name in NAMES[1:]:
        plan = ExportPlan(backbone=f"dinov2:{dinov2}")
        assert export_artifacts([tiny / name], bundle, plan, quiet) == [name]
        files.append(content(bundle))
    return bundle, files


def content(bundle):
    """Every file but the lock, by its path in the bundle."""
    paths = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in paths}


def test_adding_a_task_leaves_every_older_file_byte_identical(one_by_one):
    _, versions = one_by_one
    for before, after in itertools.pairwise(versions):
        changed = {name for name in before if before[name] != after.get(name)}
        assert changed == {"bundle.json"}
        assert len(after) > len(before)


def test_a_further_task_costs_its_tensors_its_statistics_and_a_selector(one_by_one):
    """No graph is added in the shared layout: three safetensors and a manifest."""
    _, versions = one_by_one
    added = set(versions[2]) - set(versions[1])
    assert sum(name.startswith("manifests/") for name in added) == 1
    objects = [name for name in added if name.startswith("objects/")]
    assert len(objects) == 3 and all(name.endswith("tensors.safetensors") for name in objects)


def test_versions_form_a_chain(one_by_one):
    bundle = Bundle(one_by_one[0])
    manifest = bundle.manifest()
    for version in (3, 2, 1):
        assert manifest.version == version and sorted(manifest.tasks) == sorted(NAMES[:version])
        assert manifest.selector.tasks == sorted(NAMES[:version])
        if manifest.previous is not None:
            manifest = bundle.manifest(manifest.previous)
    assert manifest.previous is None
    assert bundle.verify() == []


def test_exporting_at_once_gives_the_objects_of_exporting_one_by_one(
    one_by_one, tiny, dinov2, tmp_path
):
    """Named in the opposite order, from another folder, each graph exported anew."""
    copied = shutil.copytree(tiny, tmp_path / "elsewhere")
    folders = [copied / name for name in NAMES[::-1]]
    plan = ExportPlan(backbone=f"dinov2:{dinov2}")
    assert export_artifacts(folders, tmp_path / "bundle", plan, quiet) == list(NAMES)
    ours, theirs = Bundle(one_by_one[0]).manifest(), Bundle(tmp_path / "bundle").manifest()
    assert theirs.objects() == ours.objects()
    assert theirs.tasks == ours.tasks and theirs.selector == ours.selector
    assert (ours.version, theirs.version, theirs.previous) == (3, 1, None)


def test_exporting_again_adds_nothing(one_by_one, tiny, dinov2):
    bundle, versions = one_by_one
    assert export(tiny, bundle, backbone=f"dinov2:{dinov2}") == []
    assert content(bundle) == versions[-1]


def test_other_selector_is_another_version_with_the_same_engines(
    one_by_one, tiny, dinov2, tmp_path
):
    path = shutil.copytree(one_by_one[0], tmp_path / "bundle")
    older = {name: data for name, data in content(path).items() if name != "bundle.json"}
    plan = ExportPlan(selector="key_set", backbone=f"dinov2:{dinov2}")
    assert export_folder(tiny, path, plan, quiet) == []
    bundle = Bundle(path)
    after, before = bundle.manifest(), bundle.manifest(bundle.manifest().previous)
    assert (before.selector.kind, after.selector.kind) == ("discriminant", "key_set")
    for name in NAMES:
        assert after.tasks[name].engine == before.tasks[name].engine
    assert {name: content(path)[name] for name in older} == older
    # It stays until another one is asked for.
    assert export(tiny, path, backbone=f"dinov2:{dinov2}") == []
    assert bundle.manifest() == after


def test_layouts_mix_in_one_bundle_and_fused_bytes_repeat(tiny, tiny_first, dinov2, tmp_path):
    engines = []
    for copy in ("a", "b"):
        path = shutil.copytree(tiny_first, tmp_path / copy)
        plan = ExportPlan("fused", backbone=f"dinov2:{dinov2}")
        export_artifacts([tiny / NAMES[1]], path, plan, quiet)
        engines.append({name: e.engine for name, e in Bundle(path).manifest().tasks.items()})
    assert content(tmp_path / "a") == content(tmp_path / "b")
    shared, fused = engines[0][NAMES[0]], engines[0][NAMES[1]]
    assert (shared.layout, fused.layout) == ("shared", "fused")
    assert fused.tensors is None and len(fused.stages) == 1 and len(shared.stages) == 2


def test_a_product_joins_those_that_an_earlier_version_learned(
    tiny, tiny_first, dinov2, tmp_path_factory
):
    """Options that no method has any more stay in the bundle, and its engines as they are."""
    path = shutil.copytree(tiny_first, tmp_path_factory.mktemp("aged") / "bundle")
    bundle = Bundle(path)
    manifest = bundle.manifest()
    old = manifest.tasks[NAMES[0]].model_copy(
        update={"method": "cmpmb", "hyperparameters": {"compression": "k_means", "contrast": 0.4}}
    )
    with bundle.lock():
        bundle.commit(
            manifest.model_copy(
                update={
                    "version": 2,
                    "previous": bundle.pointer().manifest,
                    "tasks": {NAMES[0]: old},
                }
            )
        )
    plan = ExportPlan(backbone=f"dinov2:{dinov2}")
    assert export_artifacts([tiny / NAMES[1]], path, plan, quiet) == [NAMES[1]]
    after = bundle.manifest()
    assert after.tasks[NAMES[0]].engine == old.engine
    assert after.selector.engine.stages[0].graph == old.engine.stages[0].graph
