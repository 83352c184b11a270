"""Products that hold the same photographs under two names are refused, a few of them are named."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from cad_edge.data.products import read_products
from cad_edge.errors import DatasetError
from cad_edge_training.check.before_learning import survey
from tests.training.check_samples import encoded, part, surface, write


def line(folder, products):
    for name, pictures in products.items():
        write(folder / name / "train" / "good", pictures)
        write(folder / name / "test" / "good", pictures[:1])
    return read_products(folder).tasks


@pytest.mark.parametrize("make", [surface, lambda rng: part(rng, grain=6.0)], ids=["grain", "part"])
def test_the_same_parts_encoded_again_are_refused_by_both_names(rng, tmp_path, make):
    bolt = [make(rng) for _ in range(10)]
    nut = [encoded(one, 92) for one in bolt[3:]]
    with pytest.raises(DatasetError, match="tasks bolt and nut have 7 pictures of good parts in"):
        survey(line(tmp_path, {"bolt": bolt, "nut": nut}), 0.2)


def test_fewer_than_half_are_a_warning(rng, tmp_path):
    bolt = [surface(rng) for _ in range(10)]
    nut = [encoded(one, 92) for one in bolt[:3]] + [surface(rng) for _ in range(5)]
    lines = survey(line(tmp_path, {"bolt": bolt, "nut": nut}), 0.2).lines
    (said,) = [one for one in lines if "as well" in one]
    assert said.startswith("warning: nut: 3 pictures of good parts are in bolt as well, for exam")
    assert "nut/train/good/000.png is" in said and "bolt/train/good/000.png" in said


@pytest.mark.parametrize("make", [surface, lambda rng: part(rng, grain=6.0)], ids=["grain", "part"])
def test_two_products_of_one_kind_are_not_the_same(rng, tmp_path, make):
    products = {name: [make(rng) for _ in range(10)] for name in ("bolt", "nut", "pin")}
    assert not [one for one in survey(line(tmp_path, products), 0.2).lines if "as well" in one]
