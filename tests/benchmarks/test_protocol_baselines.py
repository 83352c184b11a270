"""What the one model of a baseline learns from."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.dataset import read_product
from cad_edge.data.image import ImageRecipe, decode_image
from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.protocol.baselines import Reference, link_all, link_newest, pool_of

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


def pooled(folder):
    return sorted(path.name for path in folder.iterdir())


def test_joint_pools_everything(steps, tmp_path):
    stored = link_all(steps, tmp_path / "pool")
    assert pooled(tmp_path / "pool") == [f"a.{n:05d}.png" for n in range(6)] + [
        f"b.{n:05d}.png" for n in range(4)
    ]
    assert stored == sum(path.stat().st_size for path in read_product(steps[0][0].path).train)


def test_naive_has_the_newest_only(steps, tmp_path):
    assert link_newest(steps, tmp_path / "pool") == 0
    assert pooled(tmp_path / "pool") == [f"b.{n:05d}.png" for n in range(4)]
    assert decode_image(tmp_path / "pool/b.00002.png").shape == (32, 32, 3)


@pytest.mark.parametrize("count", [0, 2, 6])
def test_replay_stores_what_fits_into_the_bytes(steps, tmp_path, count):
    one = _stored_size(steps[0][0], tmp_path)
    budget = {"a": int((count + 0.5) * one), "b": 10**9}
    stored = pool_of("replay", 3, Reference(budget, RECIPE))(steps, tmp_path / "pool")
    names = pooled(tmp_path / "pool")
    assert sum(name.startswith("a.") for name in names) == count
    assert sum(name.startswith("b.") for name in names) == 4
    assert stored <= budget["a"]
    kept = list((tmp_path / "pool").glob("a.*"))
    assert stored == sum(path.stat().st_size for path in kept)
    assert all(decode_image(path).shape == (16, 16, 3) for path in kept)


def _stored_size(task, folder):
    """Size of one image of noise as stored, a little more than most."""
    image = RECIPE.apply(decode_image(read_product(task.path).train[0]))
    Image.fromarray(image).save(folder / "one.png", optimize=True)
    return (folder / "one.png").stat().st_size + 3


def test_replay_draws_by_its_seed(steps, tmp_path):
    budget = {"a": int(2.5 * _stored_size(steps[0][0], tmp_path)), "b": 0}
    drawn = {}
    for seed in (0, 0, 1, 2):
        folder = tmp_path / f"pool-{len(drawn)}-{seed}"
        pool_of("replay", seed, Reference(budget, RECIPE))(steps, folder)
        names = [name for name in pooled(folder) if name.startswith("a.")]
        assert drawn.setdefault(seed, names) == names
    assert len(set(map(tuple, drawn.values()))) > 1


def test_the_names_lead_to_the_pools(steps):
    reference = Reference({}, RECIPE)
    assert pool_of("joint", 0, reference) is link_all
    assert pool_of("naive", 0, reference) is link_newest
    assert isinstance(pool_of("replay", 0, reference), partial)
