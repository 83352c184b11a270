"""An export writes no version that could not be opened, and names the product that is at fault."""

import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cad_edge.data.products import read_products
from cad_edge.errors import ArtifactError, BundleError
from cad_edge.schema import canonical_json
from cad_edge.store.artifact import read_artifact, write_artifact
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest
from cad_edge_export import export
from cad_edge_export.soundness import require_radii, require_readable, require_spread
from cad_edge_training.backbones import load_backbone
from cad_edge_training.learning import Learning
from cad_edge_training.methods.patch_memory.config import Config
from tests.base.bundle_samples import manifest_of
from tests.export.test_incremental import content
from tests.training.copied_products import COPIES, part
from tests.training.small_products import LITE0, NAMES, quiet
from tests.training.test_pictures_refused import flat, save


def unasked(folder, out):
    """Learn a product without looking at its pictures first, as an older version did."""
    config = Config.model_validate({"memories": ("7x8",), "keys": 8})
    learning = Learning(out, "patch_memory", 0, load_backbone(LITE0, 64), config, 0.2)
    learning.learn(read_products(folder).tasks, 0, lambda name: quiet)


@pytest.mark.parametrize("picture", [part(0), flat(0), flat(200)], ids=["copies", "black", "flat"])
def test_a_task_of_one_picture_is_refused_by_name(tmp_path, picture):
    unasked(save(tmp_path / "plate", [picture] * 10), tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"task plate: the good parts .* do not differ"):
        export(tmp_path / "out", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_same_parts_under_another_name_are_said(tmp_path):
    """They were learned apart, so that nothing but the export sees both."""
    rng = np.random.default_rng(0)
    for name, change in (("bolt", "exact"), ("nut", "encoded")):
        pictures = [COPIES[change](part(number), rng) for number in range(12)]
        unasked(save(tmp_path / name, pictures), tmp_path / f"out-{name}")
    bundle = tmp_path / "bundle"
    assert export(tmp_path / "out-bolt", bundle).notes == ()
    (said,) = export(tmp_path / "out-nut", bundle).notes
    assert re.match(
        r"Warning: good parts of nut cannot be told from those of bolt: \d+ of 24 look", said
    )


def test_a_bundle_stays_as_it_was(tmp_path, tiny, tiny_first, dinov2):
    """The second task's keys lie at no distance from its held-out parts."""
    bundle = shutil.copytree(tiny_first, tmp_path / "bundle")
    before = content(bundle)
    task = read_artifact(tiny / NAMES[1])
    still = task.routing | {"key_distances": np.zeros_like(task.routing["key_distances"])}
    write_artifact(tmp_path / "out", task.artifact, task.tensors, still, task.witness)
    with pytest.raises(ArtifactError, match=f"task {NAMES[1]}: its good parts lie at a distance"):
        export(tmp_path / "out", bundle, selector="key_set", backbone=f"dinov2:{dinov2}")
    assert content(bundle) == before
    assert list(Bundle(bundle).manifest().tasks) == [NAMES[0]]


def test_scores_without_spread_and_that_are_no_numbers(tiny):
    task = read_artifact(tiny / NAMES[0])
    require_spread([task])
    for scores, words in (([2.0] * 5, "do not differ"), ([1.0, math.nan], "no numbers")):
        calibration = task.artifact.calibration.model_copy(update={"scores": scores})
        artifact = task.artifact.model_copy(update={"calibration": calibration})
        with pytest.raises(ArtifactError, match=f"task {NAMES[0]}: .*{words}"):
            require_spread([replace(task, artifact=artifact)])


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_radii_that_are_no_distances(radius):
    require_radii({"a": 1.0})
    with pytest.raises(ArtifactError, match="task b: its good parts lie at a distance of"):
        require_radii({"a": 1.0, "b": radius})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"radius": 0.0}, "tasks.b.radius"),
        ({"radius": math.inf}, "tasks.b.radius is inf"),
        ({"artifact": "gone"}, "tasks.b.artifact"),
    ],
)
def test_a_version_that_could_not_be_read_again(changes, words):
    sound = manifest_of(["a", "b"], 1, None)
    require_readable(sound)
    assert Manifest.model_validate_json(canonical_json(sound)) == sound
    wrong = sound.tasks["b"].model_copy(update=changes)
    manifest = sound.model_copy(update={"tasks": {**sound.tasks, "b": wrong}})
    with pytest.raises(BundleError) as found:
        require_readable(manifest)
    assert words in str(found.value) and "\n" not in str(found.value)
