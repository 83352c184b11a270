"""What the one model of a baseline learns from."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.dataset import read_product
from cad_edge.data.image import ImageRecipe, decode_image
from cad_edge.data.labelled import LabelledSplit
from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.protocol.baselines import (
    Reference,
    instructions,
    pool_all,
    pool_newest,
    pooling_of,
)

RECIPE = ImageRecipe(width=16, height=16)


@pytest.fixture
def steps(tmp_path, rng):
    """Two steps: a with 6 images of noise (which PNG cannot shrink), then b with 4."""
    found = []
    for name, count in (("a", 6), ("b", 4)):
        folder = tmp_path / name / "train/good"
        folder.mkdir(parents=True)
        for number in range(count):
            noise = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number}.png")
        found.append((StreamTask(name=name, path=tmp_path / name),))
    return found


def names(pool):
    return [f"{path.parents[2].name}/{path.name}" for path, _ in pool.images]


def test_joint_pools_everything(steps, tmp_path):
    pool = pool_all(steps, tmp_path)
    assert names(pool) == [f"a/{n}.png" for n in range(6)] + [f"b/{n}.png" for n in range(4)]
    older = read_product(steps[0][0].path).train
    assert pool.stored_bytes == sum(path.stat().st_size for path in older)


def test_naive_has_the_newest_only(steps, tmp_path):
    pool = pool_newest(steps, tmp_path)
    assert names(pool) == [f"b/{n}.png" for n in range(4)] and pool.stored_bytes == 0


def test_labels_are_kept(steps, tmp_path):
    """Of tasks whose labelled images are dealt, what is learned from and nothing else."""
    for number in range(5):
        source = steps[0][0].path / f"train/good/{number}.png"
        place = steps[0][0].path / f"test/cut/{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(source.read_bytes())
    task = steps[0][0].model_copy(update={"labelled": LabelledSplit()})
    pool = pool_all([(task,)], tmp_path)
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/train.json").write_text(json.dumps(instructions(pool.images)))
    pooled, dealt = read_product(tmp_path / "pool", "instruction"), task.images()
    assert sorted(pooled.train) == sorted(dealt.train)
    assert {item.path for item in pooled.defective} == {item.path for item in dealt.defective}
    assert pooled.defective and len(pool.images) == 9


@pytest.mark.parametrize("count", [0, 2, 6])
def test_replay_stores_what_fits_into_the_bytes(steps, tmp_path, count):
    one = _stored_size(steps[0][0], tmp_path)
    budget = {"a": int((count + 0.5) * one), "b": 10**9}
    pool = pooling_of("replay", 3, Reference(budget, RECIPE))(steps, tmp_path)
    kept = [path for path, _ in pool.images if path.parent == tmp_path]
    assert (len(kept), len(pool.images)) == (count, count + 4)
    assert pool.stored_bytes <= budget["a"]
    assert pool.stored_bytes == sum(path.stat().st_size for path in kept)
    assert all(decode_image(path).shape == (16, 16, 3) for path in kept)
    assert len(list(tmp_path.glob("a.*"))) == count


def _stored_size(task, folder):
    """Size of one image of noise as stored, a little more than most."""
    image = RECIPE.apply(decode_image(read_product(task.path).train[0]))
    Image.fromarray(image).save(folder / "one.png", optimize=True)
    return (folder / "one.png").stat().st_size + 3


def test_images_below_a_relative_folder_are_found_from_anywhere():
    """As `--out out` gives: paths of a training set are relative to its file."""
    (entry,) = instructions([(Path("out/stored.png"), False)])
    assert entry["image"] == str(Path.cwd() / "out" / "stored.png")


def test_replay_draws_by_its_seed(steps, tmp_path):
    budget = {"a": int(2.5 * _stored_size(steps[0][0], tmp_path)), "b": 0}
    drawn = {}
    for seed in (0, 0, 1, 2):
        pool = pooling_of("replay", seed, Reference(budget, RECIPE))(steps, tmp_path)
        names = [path.name for path, _ in pool.images if path.parent == tmp_path]
        assert drawn.setdefault(seed, names) == names
    assert len(set(map(tuple, drawn.values()))) > 1


def test_the_names_lead_to_the_pools(steps):
    assert pooling_of("joint", 0, None) is pool_all
    assert pooling_of("naive", 0, None) is pool_newest
    assert isinstance(pooling_of("replay", 0, Reference({}, RECIPE)), partial)
    with pytest.raises(ValueError, match="there is none"):
        pooling_of("replay", 0, None)
