"""The folder layouts: what is listed, in which order, and what contradicts itself."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.dataset import Layout, read_product
from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.errors import DatasetError


def touch(root: Path, *names: str) -> None:
    """Make real little images; a reader must not need more than their names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("I;16" if "depth" in name else "L", (8, 8)).save(path)


def relative(root: Path, paths) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


class TestMvtec:
    def test_lists_everything_sorted(self, tmp_path):
        touch(tmp_path, "train/good/b.png", "train/good/a.jpg", "test/scratch/1.png")
        touch(tmp_path, "test/good/1.png", "test/blot/2.bmp", "test/blot/1.tif")
        touch(tmp_path, "ground_truth/blot/1_mask.png", "ground_truth/scratch/1.png")
        product = read_product(tmp_path)
        assert relative(tmp_path, product.train) == ["train/good/a.jpg", "train/good/b.png"]
        assert product.train_depth == ()
        assert [(item.label, item.path.name) for item in product.test] == [
            ("good", "1.png"),
            ("blot", "1.tif"),
            ("blot", "2.bmp"),
            ("scratch", "1.png"),
        ]
        assert [item.anomalous for item in product.test] == [False, True, True, True]
        masks = [item.mask and item.mask.relative_to(tmp_path).as_posix() for item in product.test]
        assert masks == [None, "ground_truth/blot/1_mask.png", None, "ground_truth/scratch/1.png"]

    def test_paths_are_absolute(self, tmp_path, monkeypatch):
        touch(tmp_path, "cookie/train/good/a.png")
        monkeypatch.chdir(tmp_path)
        assert read_product(Path("cookie")).train == (tmp_path / "cookie/train/good/a.png",)

    def test_other_files_are_passed_over(self, tmp_path):
        touch(tmp_path, "train/good/a.PNG", "train/good/.hidden.png", "test/.cache/a.png")
        touch(tmp_path, "test/blot/a.png", "ground_truth/blot/.a_mask.png")
        for name in ("train/good/Thumbs.db", "train/good/notes.txt", "test/readme.md"):
            (tmp_path / name).write_bytes(b"")
        (tmp_path / "train/good/folder.png").mkdir()
        product = read_product(tmp_path)
        assert relative(tmp_path, product.train) == ["train/good/a.PNG"]
        assert [item.path.name for item in product.test] == ["a.png"]

    def test_test_images_are_not_required(self, tmp_path):
        touch(tmp_path, "train/good/a.png")
        assert read_product(tmp_path).test == ()

    def test_masks_of_good_parts_are_passed_over(self, tmp_path):
        touch(tmp_path, "train/good/a.png", "test/good/a.png", "ground_truth/good/a_mask.png")
        assert read_product(tmp_path).test[0].mask is None

    def test_stem_that_ends_like_a_mask(self, tmp_path):
        touch(tmp_path, "train/good/a.png", "test/blot/a_mask.png", "ground_truth/blot/a_mask.png")
        assert read_product(tmp_path).test[0].mask == tmp_path / "ground_truth/blot/a_mask.png"

    def test_empty_train_good(self, tmp_path):
        (tmp_path / "train/good").mkdir(parents=True)
        (tmp_path / "train/good/notes.txt").write_bytes(b"")
        with pytest.raises(
            DatasetError, match="train/good holds no images; put the images of good"
        ):
            read_product(tmp_path)

    def test_missing_train_good(self, tmp_path):
        touch(tmp_path, "a.png")
        with pytest.raises(DatasetError, match="train/good does not exist; put the images of good"):
            read_product(tmp_path)

    @pytest.mark.parametrize("kind", ["blot", "crack"])
    def test_mask_without_image(self, tmp_path, kind):
        touch(tmp_path, "train/good/a.png", "test/blot/a.png", f"ground_truth/{kind}/b_mask.png")
        with pytest.raises(DatasetError, match=rf"b_mask\.png has no image; add the {kind} image"):
            read_product(tmp_path)

    def test_two_masks_of_one_image(self, tmp_path):
        touch(tmp_path, "train/good/a.png", "test/blot/a.png")
        touch(tmp_path, "ground_truth/blot/a.png", "ground_truth/blot/a_mask.png")
        with pytest.raises(DatasetError, match="mask one image; keep one"):
            read_product(tmp_path)

    def test_image_without_a_label(self, tmp_path):
        touch(tmp_path, "train/good/a.png", "test/b.png")
        with pytest.raises(DatasetError, match=r"test/b\.png has no label; move it"):
            read_product(tmp_path)


class TestFolder:
    def test_all_images_are_good_parts(self, tmp_path):
        touch(tmp_path, "b.png", "a.jpeg")
        product = read_product(tmp_path, "folder")
        assert relative(tmp_path, product.train) == ["a.jpeg", "b.png"]
        assert product.test == ()

    def test_no_images(self, tmp_path):
        with pytest.raises(DatasetError, match=r"holds no images.*\.png"):
            read_product(tmp_path, "folder")


class TestRgbd:
    def files(self, root: Path) -> None:
        for folder in ("train/good", "test/good", "test/hole"):
            touch(root, f"{folder}/rgb/001.png", f"{folder}/depth/001.png")
            touch(root, f"{folder}/rgb/000.png", f"{folder}/depth/000.png")
        touch(root, "test/hole/gt/000.png", "test/good/gt/000.png")

    def test_lists_everything_sorted(self, tmp_path):
        self.files(tmp_path)
        product = read_product(tmp_path, "rgbd")
        assert relative(tmp_path / "train/good", product.train) == ["rgb/000.png", "rgb/001.png"]
        assert relative(tmp_path / "train/good", product.train_depth) == [
            "depth/000.png",
            "depth/001.png",
        ]
        assert [item.label for item in product.test] == ["good", "good", "hole", "hole"]
        assert [item.mask for item in product.test] == [
            None,
            None,
            tmp_path / "test/hole/gt/000.png",
            None,
        ]
        assert product.test[3].depth == tmp_path / "test/hole/depth/001.png"

    @pytest.mark.parametrize("folder", ["train/good", "test/hole"])
    def test_missing_depth(self, tmp_path, folder):
        self.files(tmp_path)
        (tmp_path / folder / "depth/001.png").unlink()
        with pytest.raises(DatasetError, match=rf"{folder}/rgb/001\.png has no depth image"):
            read_product(tmp_path, "rgbd")

    def test_missing_rgb(self, tmp_path):
        self.files(tmp_path)
        (tmp_path / "test/good/rgb/001.png").unlink()
        with pytest.raises(DatasetError, match=r"depth/001\.png has no rgb image"):
            read_product(tmp_path, "rgbd")

    def test_no_good_parts(self, tmp_path):
        with pytest.raises(DatasetError, match="train/good/rgb does not exist"):
            read_product(tmp_path, "rgbd")


class TestVisa:
    HEADER = "object,split,label,image,mask"
    ROWS = (
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png",
        "candle,test,anomaly,candle/Data/Images/Anomaly/001.JPG,",
        "candle,test,normal,candle/Data/Images/Normal/0002.JPG,",
        "candle,train,normal,candle/Data/Images/Normal/0001.JPG,",
        "candle,train,normal,candle/Data/Images/Normal/0000.JPG,",
        "capsules,train,normal,capsules/Data/Images/Normal/000.JPG,",
    )

    def product(self, root: Path, *rows: str, header: str = HEADER) -> Path:
        images = root / "candle/Data/Images"
        touch(images, "Anomaly/000.JPG", "Anomaly/001.JPG", "Normal/0000.JPG")
        touch(images, "Normal/0001.JPG", "Normal/0002.JPG")
        touch(root, "candle/Data/Masks/Anomaly/000.png")
        (root / "split_csv").mkdir()
        text = "\r\n".join([header, *(rows or self.ROWS)]) + "\r\n"
        (root / "split_csv/1cls.csv").write_text(text, encoding="utf-8-sig")
        return root / "candle"

    def test_reads_the_split(self, tmp_path):
        product = read_product(self.product(tmp_path), "visa")
        assert [path.name for path in product.train] == ["0000.JPG", "0001.JPG"]
        assert [(item.label, item.path.name) for item in product.test] == [
            ("good", "0002.JPG"),
            ("anomaly", "000.JPG"),
            ("anomaly", "001.JPG"),
        ]
        assert product.test[1].mask == tmp_path / "candle/Data/Masks/Anomaly/000.png"
        assert product.test[2].mask is None

    def test_split_file_missing(self, tmp_path):
        touch(tmp_path, "candle/a.png")
        with pytest.raises(DatasetError, match=r"1cls\.csv does not exist; layout visa needs"):
            read_product(tmp_path / "candle", "visa")

    def test_product_not_in_the_split(self, tmp_path):
        path = self.product(tmp_path, self.ROWS[-1].replace("capsules", "cashew"))
        with pytest.raises(DatasetError, match="lists no training images for candle"):
            read_product(path, "visa")

    def test_column_missing(self, tmp_path):
        path = self.product(tmp_path, header="object,split,label,image")
        with pytest.raises(DatasetError, match="lacks the column mask"):
            read_product(path, "visa")

    @pytest.mark.parametrize("place", [3, 4], ids=["image", "mask"])
    def test_listed_file_missing(self, tmp_path, place):
        cells = self.ROWS[0].split(",")
        cells[place] = "candle/gone.png"
        path = self.product(tmp_path, ",".join(cells))
        with pytest.raises(
            DatasetError, match=r"csv line 2 names candle/gone\.png, which does not"
        ):
            read_product(path, "visa")

    @pytest.mark.parametrize("bad", ["train,anomaly", "val,normal", "test,maybe"])
    def test_unknown_split_or_label(self, tmp_path, bad):
        path = self.product(tmp_path, f"candle,{bad},candle/Data/Images/Normal/0000.JPG,")
        with pytest.raises(DatasetError, match="line 2 has split"):
            read_product(path, "visa")

    def test_image_in_both_splits(self, tmp_path):
        rows = self.ROWS[2], self.ROWS[2].replace("test", "train")
        with pytest.raises(DatasetError, match=r"lists .*0002\.JPG twice"):
            read_product(self.product(tmp_path, *rows), "visa")

    def test_not_text(self, tmp_path):
        path = self.product(tmp_path)
        (tmp_path / "split_csv/1cls.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DatasetError, match="cannot be read as CSV"):
            read_product(path, "visa")


def test_unknown_layout(tmp_path):
    with pytest.raises(DatasetError, match="layout 'coco' is not known; use one of mvtec, visa"):
        read_product(tmp_path, "coco")


@pytest.mark.parametrize("layout", get_args(Layout))
def test_missing_product(tmp_path, layout):
    with pytest.raises(DatasetError, match="gone is not a folder"):
        read_product(tmp_path / "gone", layout)


def test_real_products(open_data):
    """Counts of the data's own table, and one image of each category decoded with its mask."""
    import json

    for name, facts in json.loads((open_data / "datasets.json").read_text()).items():
        product = read_product(open_data / name, "rgbd" if facts["depth"] else "mvtec")
        anomalous = [item for item in product.test if item.anomalous]
        assert len(product.train) == facts["train_good"]
        assert len(product.test) - len(anomalous) == facts["test_good"]
        assert len(anomalous) == facts["test_anomalous"]
        assert all((item.mask is not None) == facts["masks"] for item in anomalous)
        assert len(product.train_depth) == (len(product.train) if facts["depth"] else 0)
        frame = decode_image(anomalous[-1].path)
        assert frame.dtype == np.uint8
        if facts["masks"]:
            assert decode_mask(anomalous[-1].mask, frame.shape[:2]).any()
        if facts["depth"]:
            assert decode_depth(anomalous[-1].depth).shape == frame.shape[:2]
