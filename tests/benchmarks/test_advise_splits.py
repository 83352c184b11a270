"""Which images select and which evaluate, and synthetic anomalies where real ones are missing."""

import numpy as np
import pytest

from cad_edge.data.dataset import read_product
from cad_edge.data.image import decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.data.product import LabelledImage
from cad_edge.errors import DatasetError
from cad_edge_benchmarks.advise.validation_split import SplitImage, deal, split_stream
from tests.training.small_products import stream_of, write_product

pytest.importorskip("torch")


def images(good, **defects):
    names = [(None, f"good{n}") for n in range(good)]
    names += [(kind, f"{kind}{n}") for kind, count in defects.items() for n in range(count)]
    return [SplitImage(LabelledImage(name, kind), name) for kind, name in names]


def kinds(split):
    return sorted(one.image.label for one in split)


def test_splits_hold_every_class_and_kind_and_no_image_twice():
    first, second = deal(images(5, bent=2, cut=4), seed=0)
    assert kinds(first) == ["bent", "cut", "cut", "good", "good", "good"]
    assert kinds(second) == ["bent", "cut", "cut", "good", "good"]
    assert not {one.origin for one in first} & {one.origin for one in second}


def test_kinds_with_one_image_are_spread_over_both():
    first, second = deal(images(2, bent=1, cut=1, worn=1), seed=0)
    assert len(kinds(first)) == 3 and len(kinds(second)) == 2


def test_equal_seeds_deal_alike_and_others_otherwise():
    many = images(20, bent=20)
    assert deal(many, 1) == deal(many, 1)
    assert deal(many, 1) != deal(many, 2)


def test_a_product_does_not_change_with_its_neighbours(tmp_path):
    for name in ("checks", "waves"):
        write_product(tmp_path, name, good=4, test=4)
    both = split_stream(stream_of(tmp_path, ("checks", "waves")), tmp_path / "place", 0)
    alone = split_stream(stream_of(tmp_path, ("waves",)), tmp_path / "place", 0)
    assert both.products["waves"] == alone.products["waves"]
    assert both.products["waves"].synthetic is None
    assert not (tmp_path / "place").exists()


def without_defects(folder, good):
    product = write_product(folder, "checks", good=good, test=2)
    for image in (product / "test/blot").iterdir():
        image.unlink()
    return product


def test_synthetic_anomalies_are_drawn_on_images_that_are_not_learned_from(tmp_path):
    product = without_defects(tmp_path, good=12)
    line = split_stream(stream_of(tmp_path, ("checks",)), tmp_path / "place", 0)
    splits = line.products["checks"]
    assert splits.synthetic == "2 good and 0 defective test images"
    assert line.stream.tasks[0].path == tmp_path / "place" / "checks"
    assert splits.learned == 8
    learned = {path.name for path in read_product(line.stream.tasks[0].path).train}
    origins = [{one.origin for one in split} for split in (splits.selection, splits.evaluation)]
    assert [len(one) for one in origins] == [2, 2]
    assert not learned & (origins[0] | origins[1]) and not origins[0] & origins[1]
    assert learned | origins[0] | origins[1] == {path.name for path in read_product(product).train}
    for part in splits.selection:
        original = decode_image(product / "train/good" / part.origin)
        changed = (decode_image(part.image.path) != original).any(axis=2)
        assert changed.any() == part.image.anomalous
        if part.image.mask is not None:
            mask = decode_mask(part.image.mask, changed.shape)
            assert (mask & changed).sum() > mask.sum() / 2
    assert kinds(splits.selection) == ["good"] * 2 + ["synthetic"] * 6


def test_synthetic_anomalies_are_the_same_again(tmp_path):
    without_defects(tmp_path, good=9)
    stream = stream_of(tmp_path, ("checks",))
    first = split_stream(stream, tmp_path / "one", 5).products["checks"]
    again = split_stream(stream, tmp_path / "two", 5).products["checks"]
    for one, other in zip(first.selection, again.selection, strict=True):
        assert np.array_equal(decode_image(one.image.path), decode_image(other.image.path))


def test_a_product_too_small_to_hold_images_out_is_refused(tmp_path):
    without_defects(tmp_path, good=7)
    with pytest.raises(
        DatasetError, match=r"has 7 images of good parts, .* give at least 8; or add test/good"
    ):
        split_stream(stream_of(tmp_path, ("checks",)), tmp_path / "place", 0)
