"""Folders: what is an image, what is passed over, and what would be left out without a word."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.dataset import read_product
from cad_edge.data.folder import HEATMAP_MARK, contents_of, images_in
from cad_edge.data.grouping import GroupRule
from cad_edge.data.products import read_products
from cad_edge.errors import DatasetError

NFC = unicodedata.normalize("NFC", "Stück_ä")
NFD = unicodedata.normalize("NFD", "Stück_ä")


def touch(root: Path, *names: str) -> Path:
    """Make real little images; .tiff is a point cloud's file, which readers tell by its name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("I;16" if "depth" in name else "L", (8, 8)).save(path)
    return root


def refusal(path: Path, layout: str = "mvtec", **options) -> str:
    with pytest.raises(DatasetError) as caught:
        read_product(path, layout, **options)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 600
    return said


HIDDEN = ("._a.png", ".thumbs/a.png", "@eaDir/a.png", "__MACOSX/a.png", "#recycle/a.png")


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_files_and_folders_are_passed_over(tmp_path, name):
    touch(
        tmp_path, "train/good/a.png", f"train/good/{name}", f"test/blot/{name}", "test/blot/b.png"
    )
    touch(tmp_path, f"test/{name}", f"train/{name}", f"ground_truth/blot/{name}")
    product = read_product(tmp_path)
    assert [path.name for path in product.train] == ["a.png"]
    assert [item.path.name for item in product.test] == ["b.png"]


@pytest.mark.parametrize(
    "name",
    ["Thumbs.db", "desktop.ini", "notes.txt", "a.png.json", "a.xml", "Makefile", "a.png.tmp"],
)
def test_what_is_no_picture_is_passed_over(tmp_path, name):
    touch(tmp_path, "train/good/a.png")
    (tmp_path / "train/good" / name).write_bytes(b"no picture")
    assert len(read_product(tmp_path).train) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("b.gif", ".gif"),
        ("b.GIF", ".gif"),
        ("b.jp2", ".jp2"),
        ("b.heic", ".heic"),
        ("b.avif", ".avif"),
        ("b.exr", ".exr"),
        ("b.CR2", ".cr2"),
        ("b.tif.bak", ".bak"),
        ("b.png~", ".png~"),
        ("b.png.1", ".1"),
        ("b.bmp.gz", ".gz"),
        ("b.jpg ", ".jpg "),
    ],
)
@pytest.mark.parametrize("place", ["train/good", "test/good", "test/blot", "ground_truth/blot"])
def test_pictures_of_other_formats_are_named(tmp_path, name, kind, place):
    touch(tmp_path, "train/good/a.png", "test/good/a.png", "test/blot/a.png")
    touch(tmp_path, "ground_truth/blot/a.png")
    (tmp_path / place / name).write_bytes(b"a picture")
    said = refusal(tmp_path)
    assert f"{tmp_path / place} holds 1 image in a format that is not read ({kind};" in said
    assert name in said and ".png" in said


def test_a_picture_without_suffix_is_named(tmp_path):
    touch(tmp_path, "train/good/a.png", "train/good/b.png")
    (tmp_path / "train/good/b.png").rename(tmp_path / "train/good/IMG_0001")
    assert "(no suffix; for example IMG_0001)" in refusal(tmp_path)


def test_suffixes_in_capitals_are_read(tmp_path):
    touch(tmp_path, "train/good/a.PNG", "train/good/b.Jpg", "train/good/c.TIF")
    assert len(read_product(tmp_path).train) == 3


class TestSubFolders:
    def test_of_good_parts(self, tmp_path):
        touch(tmp_path, "train/good/a.png", "train/good/old/b.png", "train/good/old/deep/c.png")
        (tmp_path / "train/good/old/d.gif").write_bytes(b"")
        said = refusal(tmp_path)
        assert f"the folder {tmp_path / 'train/good/old'} holds 3 images that would be left" in said
        assert "write `group: folder` into the stream file" in said
        assert f"move the images into {tmp_path / 'train/good'}" in said

    @pytest.mark.parametrize("link", [False, True])
    def test_linked_or_alone(self, tmp_path, link):
        inner = touch(tmp_path / ("far" if link else "p/train/good/cam"), "0.png", "1.png")
        (tmp_path / "p/train/good").mkdir(parents=True, exist_ok=True)
        if link:
            (tmp_path / "p/train/good/cam").symlink_to(inner)
        assert "train/good/cam holds 2 images that would be" in refusal(tmp_path / "p")

    def test_a_link_back_leads_to_nothing_new(self, tmp_path):
        touch(tmp_path, "train/good/a.png")
        (tmp_path / "train/good/sub").mkdir()
        for name, target in (("back", "."), ("sub/back", ".."), ("sub/up", "../..")):
            (tmp_path / "train/good" / name).symlink_to(target)
        assert len(read_product(tmp_path).train) == 1
        touch(tmp_path, "train/good/sub/b.png")
        assert "sub holds 1 image that" in refusal(tmp_path)

    def test_a_linked_group_is_no_second_one(self, tmp_path):
        touch(tmp_path, "train/good/1/a.png", "train/good/2/a.png")
        (tmp_path / "train/good/3").symlink_to("1")
        assert "good/1 and" in refusal(tmp_path, by_folder=True)

    def test_of_a_folder_of_good_parts(self, tmp_path):
        touch(tmp_path, "parts/b.png", "parts/old/c.png")
        assert "parts/old holds 1 image" in refusal(tmp_path / "parts", "folder")
        with pytest.raises(DatasetError, match="parts/old holds 1 image"):
            read_products(tmp_path / "parts")

    @pytest.mark.parametrize("kind", ["good", "blot"])
    def test_of_test_images(self, tmp_path, kind):
        touch(tmp_path, "train/good/a.png", f"test/{kind}/0.png", f"test/{kind}/old/1.png")
        said = refusal(tmp_path)
        assert f"test/{kind}/old holds 1 image" in said and "group" not in said

    @pytest.mark.parametrize("name", ["train/scratch/0.png", "train/0.png"])
    @pytest.mark.parametrize("views", [1, 2])
    def test_beside_train_good(self, tmp_path, name, views):
        good = ("a.png",) if views == 1 else ("a/0.png", "a/1.png")
        touch(tmp_path, *(f"train/good/{one}" for one in good), name)
        said = refusal(tmp_path, views=views)
        assert str(tmp_path / name.removesuffix("/0.png")) in said and "1 image" in said

    def test_empty_folders_are_nothing(self, tmp_path):
        touch(tmp_path, "train/good/a.png")
        for name in ("train/good/sub/deeper", "train/other", "test/good/sub"):
            (tmp_path / name).mkdir(parents=True)
        assert len(read_product(tmp_path).train) == 1

    @pytest.mark.parametrize("part", ["train/good", "test/hole"])
    @pytest.mark.parametrize("name", ["rgb/old/9.png", "9.png", "old/rgb/9.png", "depth/old/9.png"])
    def test_of_planes(self, tmp_path, part, name):
        for place in ("train/good", "test/hole"):
            touch(tmp_path, f"{place}/rgb/0.png", f"{place}/depth/0.png")
        touch(tmp_path, f"{part}/{name}")
        assert "left out" in refusal(tmp_path, "rgbd")

    @pytest.mark.parametrize("name", ["a/extra/2.png", "more/b/0.png"])
    def test_of_views(self, tmp_path, name):
        touch(tmp_path, "train/good/a/0.png", "train/good/a/1.png", f"train/good/{name}")
        said = refusal(tmp_path, views=2)
        assert str(tmp_path / "train/good" / name.split("/")[0]) in said and "left out" in said

    @pytest.mark.parametrize("name", ["more/000_image_4.png", "part_image_4.png", "7.png"])
    def test_of_eyecandies(self, tmp_path, name):
        data = tmp_path / "train/data"
        touch(data, "000_image_4.png", "000_depth.png", "000_normals.png", "000_bumps_mask.png")
        (data / "000_info_depth.yaml").write_text("normalization: {min: 1, max: 2}")
        assert len(read_product(tmp_path, "eyecandies").train) == 1
        touch(data, name)
        assert "left out" in refusal(tmp_path, "eyecandies")


def test_validation_with_views_and_with_depth(tmp_path):
    for place in ("a/train", "a/validation"):
        touch(tmp_path, f"{place}/good/0/0.png", f"{place}/good/0/1.png")
    assert len(read_product(tmp_path / "a", views=2).train) == 2
    for place in ("b/train", "b/validation"):
        touch(tmp_path, f"{place}/good/rgb/0.png", f"{place}/good/depth/0.png")
    product = read_product(tmp_path / "b", "rgbd")
    assert len(product.train) == len(product.train_depth) == 2


def test_validation_holds_further_good_parts(tmp_path):
    touch(tmp_path, "train/good/0.png", "validation/good/0.png", "test/good/0.png")
    product = read_product(tmp_path)
    assert [path.parent.parent.name for path in product.train] == ["train", "validation"]
    touch(tmp_path, "train/good/a/1.png")
    assert "validation holds 1 image" in refusal(tmp_path, by_folder=True)


def test_a_folder_of_heat_maps_is_no_folder_of_images(tmp_path):
    touch(tmp_path, "train/good/a.png", "train/good/heat/a.png")
    (tmp_path / "train/good/heat" / HEATMAP_MARK).touch()
    assert len(read_product(tmp_path).train) == 1


def test_a_link_to_nothing_is_named(tmp_path):
    touch(tmp_path, "train/good/a.png")
    (tmp_path / "train/good/cam2").symlink_to(tmp_path / "unmounted")
    assert "cam2 leads nowhere (No such file or directory); mount" in refusal(tmp_path)


def test_a_link_to_itself_is_named(tmp_path):
    touch(tmp_path, "train/good/a.png")
    (tmp_path / "train/good/cam2").symlink_to(tmp_path / "train/good/cam2")
    assert "cam2 leads nowhere (Too many levels" in refusal(tmp_path)


def test_names_that_are_not_utf8(tmp_path):
    good = os.path.join(os.fsencode(tmp_path), b"train/good")  # noqa: PTH118
    os.makedirs(good)  # noqa: PTH103
    with open(os.path.join(good, b"\xff.png"), "wb") as file:  # noqa: PTH118, PTH123
        Image.new("L", (8, 8)).save(file, "PNG")
    assert os.fsencode(read_product(tmp_path).train[0].name) == b"\xff.png"


def test_letters_with_accents_are_written_in_two_ways(tmp_path):
    assert NFC != NFD
    touch(tmp_path, f"train/good/{NFC}.png", f"test/blot/{NFD}.png")
    touch(tmp_path, f"ground_truth/blot/{NFC}_mask.png")
    assert read_product(tmp_path).test[0].mask == tmp_path / f"ground_truth/blot/{NFC}_mask.png"
    touch(tmp_path, f"test/blot/{NFC}.png")
    assert "have one name" in refusal(tmp_path)


def test_depth_by_either_way_of_writing(tmp_path):
    touch(tmp_path, f"train/good/rgb/{NFC}.png", f"train/good/depth/{NFD}.png")
    assert read_product(tmp_path, "rgbd").train_depth[0].stem == NFD
    touch(tmp_path, f"train/good/depth/{NFC}.png")
    assert "NFC and NFD" in refusal(tmp_path, "rgbd")


def test_tables_by_either_way_of_writing(tmp_path):
    touch(tmp_path, f"visa/{NFD}/Data/Images/{NFD}.png")
    (tmp_path / "visa/split_csv").mkdir()
    row = f"object,split,label,image,mask\n{NFC},train,normal,{NFC}/Data/Images/{NFC}.png,\n"
    (tmp_path / "visa/split_csv/1cls.csv").write_text(row, encoding="utf-8")
    assert read_product(tmp_path / "visa" / NFD, "visa").train[0].stem == NFD
    touch(tmp_path, f"visa/{NFD}/Data/Images/{NFC}.png")
    assert read_product(tmp_path / "visa" / NFD, "visa").train[0].stem == NFC  # as it is written


def test_a_pattern_by_either_way_of_writing(tmp_path):
    touch(tmp_path, f"train/good/{NFD}1.png", f"train/good/{NFC}2.png")
    rule = GroupRule(pattern=rf"{NFC}(\d)")
    images = [path.name for path in read_product(tmp_path).train]
    assert rule.names(images, "") == ("1", "2")


def test_a_name_too_long_for_a_file_is_only_missing(tmp_path):
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "nut").mkdir()
    row = f"object,split,label,image,mask\nnut,train,normal,{'é' * 300}.png,\n"
    (tmp_path / "split_csv/1cls.csv").write_text(row, encoding="utf-8")
    assert "which does not exist" in refusal(tmp_path / "nut", "visa")


def test_a_folder_is_listed_by_name_whatever_lies_in_it(tmp_path):
    touch(tmp_path, "b.png", "a.jpg", "sub/c.png")
    np.save(tmp_path / "d.npy", np.zeros(3))
    found = contents_of(tmp_path)
    assert [path.name for path in found.images] == ["a.jpg", "b.png"]
    assert [path.name for path in found.folders] == ["sub"] and not found.unread
    assert images_in(tmp_path / "none") == ()
