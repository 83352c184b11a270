"""Which images choose and which report, and synthetic defects where real ones are missing."""

import numpy as np
import pytest

from cad_edge.data.dataset import read_product
from cad_edge.data.image import decode_image, decode_mask
from cad_edge.data.product import LabelledImage
from cad_edge.errors import DatasetError
from cad_edge_benchmarks.advise.synthetic_anomalies import Part
from cad_edge_benchmarks.advise.validation_split import deal, divide
from tests.training.small_products import stream_of, write_product

pytest.importorskip("torch")


def parts(good, **defects):
    names = [(None, f"good{n}") for n in range(good)]
    names += [(kind, f"{kind}{n}") for kind, count in defects.items() for n in range(count)]
    return [Part(LabelledImage(name, kind), name) for kind, name in names]


def kinds(half):
    return sorted(part.image.label for part in half)


def test_halves_hold_every_class_and_kind_and_no_image_twice():
    first, second = deal(parts(5, bent=2, cut=4), seed=0)
    assert kinds(first) == ["bent", "cut", "cut", "good", "good", "good"]
    assert kinds(second) == ["bent", "cut", "cut", "good", "good"]
    assert not {one.origin for one in first} & {one.origin for one in second}


def test_kinds_with_one_image_are_spread_over_both():
    first, second = deal(parts(2, bent=1, cut=1, worn=1), seed=0)
    assert len(kinds(first)) == 3 and len(kinds(second)) == 2


def test_equal_seeds_deal_alike_and_others_otherwise():
    many = parts(20, bent=20)
    assert deal(many, 1) == deal(many, 1)
    assert deal(many, 1) != deal(many, 2)


def test_a_product_does_not_change_with_its_neighbours(tmp_path):
    for name in ("checks", "waves"):
        write_product(tmp_path, name, good=4, test=4)
    both = divide(stream_of(tmp_path, ("checks", "waves")), tmp_path / "place", 0)
    alone = divide(stream_of(tmp_path, ("waves",)), tmp_path / "place", 0)
    assert both.halves["waves"] == alone.halves["waves"]
    assert both.halves["waves"].stand_in is None
    assert not (tmp_path / "place").exists()


def without_defects(folder, good):
    product = write_product(folder, "checks", good=good, test=2)
    for image in (product / "test/blot").iterdir():
        image.unlink()
    return product


def test_synthetic_defects_stand_in_on_images_that_are_not_learned_from(tmp_path):
    product = without_defects(tmp_path, good=12)
    line = divide(stream_of(tmp_path, ("checks",)), tmp_path / "place", 0)
    halves = line.halves["checks"]
    assert halves.stand_in == "2 good and 0 defective test images"
    assert line.stream.tasks[0].path == tmp_path / "place" / "checks"
    assert halves.learned == 8
    learned = {path.name for path in read_product(line.stream.tasks[0].path).train}
    origins = [{part.origin for part in half} for half in (halves.choosing, halves.reporting)]
    assert [len(one) for one in origins] == [2, 2]
    assert not learned & (origins[0] | origins[1]) and not origins[0] & origins[1]
    assert learned | origins[0] | origins[1] == {path.name for path in read_product(product).train}
    for part in halves.choosing:
        original = decode_image(product / "train/good" / part.origin)
        changed = (decode_image(part.image.path) != original).any(axis=2)
        assert changed.any() == part.image.anomalous
        if part.image.mask is not None:
            mask = decode_mask(part.image.mask, changed.shape)
            assert (mask & changed).sum() > mask.sum() / 2
    assert kinds(halves.choosing) == ["good"] * 2 + ["synthetic"] * 6


def test_stand_ins_are_the_same_again(tmp_path):
    without_defects(tmp_path, good=9)
    stream = stream_of(tmp_path, ("checks",))
    first = divide(stream, tmp_path / "one", 5).halves["checks"]
    again = divide(stream, tmp_path / "two", 5).halves["checks"]
    for one, other in zip(first.choosing, again.choosing, strict=True):
        assert np.array_equal(decode_image(one.image.path), decode_image(other.image.path))


def test_a_product_too_small_to_hold_images_out_is_refused(tmp_path):
    without_defects(tmp_path, good=7)
    with pytest.raises(DatasetError, match=r"has 7 images of good parts .* give at least 8"):
        divide(stream_of(tmp_path, ("checks",)), tmp_path / "place", 0)
