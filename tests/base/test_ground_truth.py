"""Which mask belongs to which image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.dataset import read_product
from cad_edge.data.mask import decode_mask
from cad_edge.errors import DatasetError

SIDE = 32


def product(root: Path, *names: str) -> Path:
    """A product with these files besides one good part; each mask marks a row of its own."""
    for number, name in enumerate(("train/good/0.png", *names)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        pixels[number, 4:10] = 255
        Image.fromarray(pixels).save(path)
    return root


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_product(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["7.png", "7_mask.png", "7_Mask.PNG", "7_gt.png", "7_GT.bmp"])
def test_endings_of_masks(tmp_path, name):
    product(tmp_path, "test/cut/7.jpg", f"ground_truth/cut/{name}")
    assert read_product(tmp_path).test[0].mask == tmp_path / "ground_truth/cut" / name


@pytest.mark.parametrize("name", ["mask_7.png", "7_segmentation.png", "07.png", "7_mask_2.png"])
def test_other_names_have_no_image(tmp_path, name):
    product(tmp_path, "test/cut/7.png", f"ground_truth/cut/{name}")
    assert f"{name} has no image; add the cut image or remove it" in refusal(tmp_path)


def test_several_masks_in_a_folder_of_the_images_name(tmp_path):
    """As MVTec LOCO AD has them: what any of them marks is defective."""
    inner = "ground_truth/logical/000"
    product(tmp_path, "test/logical/000.png", f"{inner}/000.png", f"{inner}/001.png")
    (item,) = read_product(tmp_path).test
    assert item.mask == tmp_path / inner
    assert [path.name for path in item.mask_files()] == ["000.png", "001.png"]
    assert decode_mask(item.mask, (SIDE, SIDE)).nonzero()[0].tolist() == [2] * 6 + [3] * 6


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["001/0.png"], "001 has no image"),
        (["000/0.png", "000.png"], "mask one image; keep one"),
        (["000/deep/0.png"], "000 holds no mask"),
        (["000/0.png", "000/deep/0.png"], "deep holds 1 image that would be left out"),
    ],
)
def test_folders_of_masks_that_fit_no_image(tmp_path, names, said):
    product(tmp_path, "test/cut/000.png", *(f"ground_truth/cut/{name}" for name in names))
    assert said in refusal(tmp_path)


def test_two_images_share_no_mask(tmp_path):
    product(tmp_path, "test/cut/a.png", "test/cut/a.jpg", "ground_truth/cut/a_mask.png")
    said = refusal(tmp_path)
    assert "test/cut/a.jpg and a.png have one name, suffixes aside, and one mask" in said
    assert "a_mask.png" in said


def test_images_of_one_stem_without_a_mask_are_two_images(tmp_path):
    product(
        tmp_path, "test/cut/a.png", "test/cut/a.jpg", "test/cut/b.png", "ground_truth/cut/b.png"
    )
    assert [item.mask is None for item in read_product(tmp_path).test] == [True, True, False]


def test_masks_in_no_folder_of_a_kind(tmp_path):
    product(tmp_path, "test/cut/a.png", "ground_truth/a_mask.png")
    assert "a_mask.png lies in no folder of a kind of defect; move it" in refusal(tmp_path)


def test_kinds_without_masks(tmp_path):
    product(tmp_path, "test/cut/a.png", "test/dent/a.png", "ground_truth/cut/a.png")
    assert [item.mask is None for item in read_product(tmp_path).test] == [False, True]


def test_with_depth(tmp_path):
    for place in ("train/good", "test/cut"):
        product(tmp_path, f"{place}/rgb/0.png", f"{place}/rgb/0.jpg")
        (tmp_path / place / "depth").mkdir()
        Image.new("I;16", (SIDE, SIDE)).save(tmp_path / place / "depth/0.png")
    (tmp_path / "train/good/0.png").unlink()
    with pytest.raises(DatasetError, match="differ in the suffix alone"):
        read_product(tmp_path, "rgbd")
