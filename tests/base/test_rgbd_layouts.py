"""Layouts whose images come with depth: what belongs together, in which order, what is missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.dataset import read_product
from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError

tifffile = pytest.importorskip("tifffile")

SIDE = 16


def write_image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((SIDE, SIDE), value, np.uint8)).save(path)


def write_cloud(path: Path, distance: float) -> None:
    """Write a point cloud whose first row was not measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    points = np.full((SIDE, SIDE, 3), (0.1, -0.1, distance), np.float32)
    points[0] = 0
    tifffile.imwrite(path, points, photometric="rgb")


def relative(root: Path, paths) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def refusal(path: Path, layout: str) -> str:
    with pytest.raises(DatasetError) as problem:
        read_product(path, layout)
    assert "\n" not in str(problem.value)
    return str(problem.value)


class TestMvtec3d:
    PARTS = (
        "train/good/{}/001",
        "train/good/{}/000",
        "validation/good/{}/001",
        "validation/good/{}/000",
        "test/hole/{}/001",
        "test/hole/{}/000",
        "test/good/{}/000",
        "test/combined/{}/000",
    )

    @pytest.fixture
    def bagel(self, tmp_path) -> Path:
        for number, part in enumerate(self.PARTS):
            write_image(tmp_path / f"{part.format('rgb')}.png", number)
            write_cloud(tmp_path / f"{part.format('xyz')}.tiff", 0.5 + number / 100)
            if part.startswith("test"):
                write_image(tmp_path / f"{part.format('gt')}.png", 0 if "good" in part else 255)
        return tmp_path

    def test_validation_comes_after_train(self, bagel):
        product = read_product(bagel, "mvtec3d")
        places = ["train/good", "train/good", "validation/good", "validation/good"]
        names = ["000", "001", "000", "001"]
        pairs = list(zip(places, names, strict=True))
        assert relative(bagel, product.train) == [
            f"{place}/rgb/{name}.png" for place, name in pairs
        ]
        assert relative(bagel, product.train_depth) == [
            f"{place}/xyz/{name}.tiff" for place, name in pairs
        ]

    def test_good_test_images_come_first_and_have_no_mask(self, bagel):
        product = read_product(bagel, "mvtec3d")
        assert [(item.label, item.path.name) for item in product.test] == [
            ("good", "000.png"),
            ("combined", "000.png"),
            ("hole", "000.png"),
            ("hole", "001.png"),
        ]
        assert [item.mask and item.mask.parent.parent.name for item in product.test] == [
            None,
            "combined",
            "hole",
            "hole",
        ]
        for item in product.test:
            assert item.depth == item.path.parents[1] / "xyz" / f"{item.path.stem}.tiff"

    def test_image_and_depth_are_of_one_part(self, bagel):
        product = read_product(bagel, "mvtec3d")
        pairs = [*zip(product.train, product.train_depth, strict=True)]
        pairs += [(item.path, item.depth) for item in product.test]
        for image, depth in pairs:
            plane, number = decode_depth(depth), int(decode_image(image)[0, 0, 0])
            assert plane.shape == (SIDE, SIDE) and not plane[0].any()
            assert (plane[1:] == np.float32(0.5 + number / 100)).all()

    @pytest.mark.parametrize("missing", ["validation", "test"])
    def test_validation_and_test_are_not_required(self, bagel, missing):
        (bagel / missing).rename(bagel / "elsewhere")
        product = read_product(bagel, "mvtec3d")
        assert len(product.train) == (2 if missing == "validation" else 4)
        assert len(product.test) == (4 if missing == "validation" else 0)

    @pytest.mark.parametrize("place", ["train/good", "validation/good", "test/hole"])
    def test_counts_that_differ(self, bagel, place):
        (bagel / place / "xyz/001.tiff").unlink()
        said = refusal(bagel, "mvtec3d")
        assert f"{place}/rgb/001.png has no depth image in {bagel / place / 'xyz'}" in said
        assert "(2 rgb images and 1 depth images); add it or remove the image" in said
        (bagel / place / "rgb/001.png").unlink()
        (bagel / place / "rgb/000.png").unlink()
        write_image(bagel / place / "rgb/002.png")
        write_cloud(bagel / place / "xyz/002.tiff", 0.5)
        said = refusal(bagel, "mvtec3d")
        assert "xyz/000.tiff has no rgb image (1 rgb images and 2 depth images)" in said

    def test_two_clouds_of_one_image(self, bagel):
        write_image(bagel / "train/good/xyz/000.png")
        assert "differ in the suffix alone" in refusal(bagel, "mvtec3d")

    def test_two_images_of_one_cloud(self, bagel):
        write_image(bagel / "test/hole/rgb/000.bmp")
        assert "000.png and 000.bmp differ in the suffix alone" in refusal(bagel, "mvtec3d")

    def test_no_good_parts(self, tmp_path):
        assert "train/good/rgb does not exist" in refusal(tmp_path, "mvtec3d")

    def test_mask_without_image(self, bagel):
        write_image(bagel / "test/hole/gt/007.png")
        assert "gt/007.png has no image" in refusal(bagel, "mvtec3d")


class TestEyecandies:
    def part(self, folder: Path, number: str, value: int, labels: str | None = None) -> None:
        """Write what one part has, without the items that are never read."""
        for light in range(6):
            write_image(folder / f"{number}_image_{light}.png", value if light == 4 else 99)
        depth = np.full((SIDE, SIDE), 65535, np.uint16)
        Image.fromarray(depth).save(folder / f"{number}_depth.png")
        info = folder / f"{number}_info_depth.yaml"
        info.write_text(f"normalization: {{min: 0.4, max: {0.5 + value / 100}}}\n")
        write_image(folder / f"{number}_normals.png")
        if labels is not None:
            (folder / f"{number}_metadata.yaml").write_text(labels)
            defect = "anomalous: 1" in labels or "anomalous: true" in labels
            for item in ("mask", "bumps_mask", "dents_mask", "colors_mask", "normals_mask"):
                write_image(folder / f"{number}_{item}.png", 255 * defect)

    @pytest.fixture
    def candy(self, tmp_path) -> Path:
        for value, number in enumerate(("010", "002", "001")):
            self.part(tmp_path / "train/data", number, value, "anomalous: 0")
        self.part(tmp_path / "val/data", "00", 3, "anomalous: 0")
        none = "anomalous: 0\nanomalous_bumps: 0\nanomalous_dents: 0\n"
        test = tmp_path / "test_public/data"
        self.part(test, "00", 4, "anomalous: 1\nanomalous_bumps: 0\nanomalous_dents: 1\n")
        self.part(test, "01", 5, none)
        self.part(test, "02", 6, "anomalous: 1\nanomalous_bumps: 1\nanomalous_colors: 1\n")
        self.part(test, "03", 7, "anomalous: 1\n")
        self.part(test, "04", 8, "anomalous: false\n")
        self.part(test, "05", 9, "anomalous: true\nanomalous_bumps: true\n")
        self.part(tmp_path / "test_private/data", "00", 10)
        return tmp_path

    def test_parts_by_number_and_validation_last(self, candy):
        product = read_product(candy, "eyecandies")
        places = ["train/data/001", "train/data/002", "train/data/010", "val/data/00"]
        assert relative(candy, product.train) == [f"{one}_image_4.png" for one in places]
        assert relative(candy, product.train_depth) == [f"{one}_depth.png" for one in places]

    def test_labels_and_kinds_are_those_of_the_metadata(self, candy):
        product = read_product(candy, "eyecandies")
        assert [(item.label, item.path.name) for item in product.test] == [
            ("good", "01_image_4.png"),
            ("good", "04_image_4.png"),
            ("anomaly", "03_image_4.png"),
            ("bumps", "05_image_4.png"),
            ("combined", "02_image_4.png"),
            ("dents", "00_image_4.png"),
        ]
        assert [item.mask and item.mask.name for item in product.test] == [
            None,
            None,
            "03_mask.png",
            "05_mask.png",
            "02_mask.png",
            "00_mask.png",
        ]
        assert all(decode_mask(item.mask, (SIDE, SIDE)).all() for item in product.test if item.mask)

    def test_image_and_depth_are_of_one_part_in_metres(self, candy):
        product = read_product(candy, "eyecandies")
        pairs = [*zip(product.train, product.train_depth, strict=True)]
        pairs += [(item.path, item.depth) for item in product.test]
        for image, depth in pairs:
            number = int(decode_image(image)[0, 0, 0])  # of image_4; the other lights show 99
            np.testing.assert_allclose(decode_depth(depth), 0.5 + number / 100, rtol=1e-6)

    @pytest.mark.parametrize("missing", ["val", "test_public"])
    def test_further_folders_are_not_required(self, candy, missing):
        (candy / missing).rename(candy / "elsewhere")
        product = read_product(candy, "eyecandies")
        assert len(product.train) == (3 if missing == "val" else 4)
        assert bool(product.test) == (missing == "val")

    @pytest.mark.parametrize("part", ["train/data/002", "val/data/00", "test_public/data/02"])
    def test_counts_that_differ(self, candy, part):
        (candy / f"{part}_depth.png").rename(candy / "depth.png")
        said = refusal(candy, "eyecandies")
        assert f"{part}_image_4.png has no depth image in {(candy / part).parent} (" in said
        (candy / "depth.png").rename(candy / f"{part}_depth.png")
        (candy / f"{part}_image_4.png").unlink()
        if part == "val/data/00":  # none is left, which is no contradiction of its own
            assert "00_depth.png has no rgb image (0 rgb images and 1" in refusal(
                candy, "eyecandies"
            )
        else:
            assert f"{part}_depth.png has no rgb image (" in refusal(candy, "eyecandies")

    def test_depth_without_distances(self, candy):
        (candy / "train/data/002_info_depth.yaml").unlink()
        said = refusal(candy, "eyecandies")
        assert "002_depth.png has no 002_info_depth.yaml beside it; add it" in said

    @pytest.mark.parametrize(
        ("labels", "words"),
        [
            (None, "00_metadata.yaml cannot be read: No such file"),
            ("", "00_metadata.yaml holds no keys with values"),
            ("a: [", "00_metadata.yaml is not YAML"),
            ("bumps: 1", "00_metadata.yaml has no `anomalous: 0` or `anomalous: 1`"),
            ("anomalous: 2", "has no `anomalous: 0` or"),
            ("anomalous: maybe", "has no `anomalous: 0` or"),
            ("anomalous: [1]", "has no `anomalous: 0` or"),
        ],
    )
    def test_labels_that_are_none(self, candy, labels, words):
        path = candy / "test_public/data/00_metadata.yaml"
        path.unlink()
        if labels is not None:
            path.write_text(labels)
        assert words in refusal(candy, "eyecandies")

    def test_mask_without_image(self, candy):
        write_image(candy / "test_public/data/09_mask.png")
        assert "09_mask.png has no image; add NNN_image_4.png" in refusal(candy, "eyecandies")

    @pytest.mark.parametrize("folder", ["train/data", "other"])
    def test_no_good_parts(self, tmp_path, folder):
        (tmp_path / folder).mkdir(parents=True)
        said = refusal(tmp_path, "eyecandies")
        assert "train/data holds no NNN_image_4.png; put the images of good parts there" in said


@pytest.mark.parametrize("layout", ["mvtec3d", "eyecandies"])
def test_a_part_has_one_view(tmp_path, layout):
    with pytest.raises(DatasetError, match=f"layout {layout} has one image of each part; leave"):
        read_product(tmp_path, layout, 2)


def test_a_stream_task_reads_them(tmp_path):
    for place in ("train/good/{}/000", "test/hole/{}/000"):
        write_image(tmp_path / f"{place.format('rgb')}.png")
        write_cloud(tmp_path / f"{place.format('xyz')}.tiff", 0.5)
    images = StreamTask(name="bagel", path=tmp_path, layout="mvtec3d").images()
    assert len(images.train) == len(images.train_depth) == len(images.test) == 1
