"""Folders of a product, and products, under names that are nearly right, or beside others."""

import pytest

from cad_edge.data.dataset import read_product
from cad_edge.data.products import read_products
from cad_edge.errors import DatasetError
from tests.base.test_folder_listing import refusal, touch

NEARLY = (
    ("mvtec", "Validation/good/1.png", "validation"),
    ("mvtec", "val/good/1.png", "validation"),
    ("mvtec", "Train/good/1.png", "train"),
    ("mvtec", "training/good/1.png", "train"),
    ("mvtec", "Test/crack/1.png", "test"),
    ("mvtec", "tests/crack/1.png", "test"),
    ("mvtec", "Ground_Truth/crack/1.png", "ground_truth"),
    ("mvtec", "ground-truth/crack/1.png", "ground_truth"),
    ("mvtec", "masks/crack/1.png", "ground_truth"),
    ("mvtec", "masks/1.png", "ground_truth"),
    ("rgbd", "Validation/good/rgb/1.png", "validation"),
    ("rgbd", "test/crack/GT/1.png", "gt"),
    ("rgbd", "test/crack/masks/1.png", "gt"),
    ("rgbd", "train/good/RGB/1.png", "rgb"),
    ("mvtec3d", "TEST/crack/rgb/1.png", "test"),
    ("mvtec3d", "test/crack/Ground_Truth/1.png", "gt"),
    ("eyecandies", "Val/data/1_image_4.png", "val"),
    ("eyecandies", "Test/data/1_image_4.png", "test_public"),
    ("eyecandies", "train/Data/1_image_4.png", "data"),
)


def product_of(layout: str, root):
    """One good part to learn from and one crack."""
    if layout == "eyecandies":
        touch(root, "train/data/0_image_4.png", "train/data/0_depth.png")
        (root / "train/data/0_info_depth.yaml").write_text("normalization: {min: 1, max: 2}")
        return root
    planes = {"rgbd": ("rgb", "depth"), "mvtec3d": ("rgb", "xyz")}.get(layout, (".",))
    for plane in planes:
        touch(root, f"train/good/{plane}/0.png", f"test/crack/{plane}/0.png")
    return root


class TestNearlyTheName:
    @pytest.mark.parametrize(("layout", "name", "meant"), NEARLY)
    def test_is_named(self, tmp_path, layout, name, meant):
        product = product_of(layout, tmp_path)
        assert len(read_product(product, layout).train) == 1
        touch(product, name)
        said = refusal(product, layout)
        place = next(tmp_path / "/".join(name.split("/")[:n]) for n in (1, 2, 3) if _new(name, n))
        assert f"the folder {place} holds 1 image that would be left out" in said
        assert f"is not called {meant}; " in said and str(place.parent / meant) in said

    @pytest.mark.parametrize("name", ["Validation/good", "Test/crack"])
    def test_with_views(self, tmp_path, name):
        touch(tmp_path, "train/good/0/0.png", "train/good/0/1.png", f"{name}/0/0.png")
        assert f"{tmp_path / name.split('/')[0]} holds 1 image" in refusal(tmp_path, views=2)

    @pytest.mark.parametrize("name", ["Validation", "masks/crack", "Test"])
    def test_an_empty_one_is_nothing(self, tmp_path, name):
        (product_of("mvtec", tmp_path) / name).mkdir(parents=True)
        assert len(read_product(tmp_path).train) == 1

    @pytest.mark.parametrize("name", ["test_private", "backup", "raw", "trained"])
    def test_other_names_are_none_of_ours(self, tmp_path, name):
        touch(product_of("mvtec", tmp_path), f"{name}/0.png")
        assert len(read_product(tmp_path).train) == 1


def _new(name: str, steps: int) -> bool:
    """Whether the first steps of a path lead where no product has a folder."""
    own = ("train", "train/good", "test", "test/crack")
    return "/".join(name.split("/")[:steps]) not in own


class TestBesideProducts:
    @pytest.mark.parametrize(
        ("name", "place", "count"),
        [
            ("nut/Train/good/0.png", "nut/Train", "1 image"),
            ("nut/training/OK/0.png", "nut/training", "1 image"),
            ("nut/Train/data/0.png", "nut/Train", "1 image"),
            ("plain/0.png", "plain", "1 image"),
            ("a/b/nut/train/good/0.png", "a", "1 image"),
            ("more/plain/0.png", "more", "1 image"),
            ("0.png", "", "1 image"),
        ],
    )
    def test_is_named(self, tmp_path, name, place, count):
        product_of("mvtec", tmp_path / "bolt")
        assert [task.name for task in read_products(tmp_path).tasks] == ["bolt"]
        touch(tmp_path, name)
        with pytest.raises(DatasetError) as caught:
            read_products(tmp_path)
        said = str(caught.value)
        assert f"{tmp_path / place} holds {count}" in said and "\n" not in said and len(said) < 600
        assert "that would be left out" in said

    def test_beside_those_of_a_group(self, tmp_path):
        product_of("mvtec", tmp_path / "line/bolt")
        touch(tmp_path, "line/plain/0.png", "line/plain/more/1.png")
        with pytest.raises(DatasetError, match="line/plain holds 2 images that would be left out"):
            read_products(tmp_path)

    def test_of_visa(self, tmp_path):
        for name in ("candle/Data/0.png", "pcb/data/0.png"):
            touch(tmp_path, name)
        (tmp_path / "split_csv").mkdir()
        (tmp_path / "split_csv/1cls.csv").touch()
        with pytest.raises(DatasetError, match="pcb holds 1 image that would be left out"):
            read_products(tmp_path)

    def test_links_into_products_and_folders_without_pictures_are_nothing(self, tmp_path):
        product_of("mvtec", tmp_path / "far/bolt")
        here = tmp_path / "here"
        touch(here, ".thumbs/0.png")
        (here / "docs").mkdir()
        (here / "docs/notes.txt").touch()
        (here / "line").mkdir()
        (here / "line/bolt").symlink_to(tmp_path / "far/bolt")
        (here / "good").symlink_to(tmp_path / "far/bolt/train/good")
        assert [task.name for task in read_products(here).tasks] == ["bolt"]


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_folder_within_a_product_is_no_product(tmp_path, part):
    touch(tmp_path, "cookie/train/good/0.png", "cookie/test/good/0.png", "good/0.png")
    with pytest.raises(DatasetError, match=r"one folder of the product .*cookie, not the product"):
        read_products(tmp_path / "cookie" / part / "good")
    assert [task.name for task in read_products(tmp_path / "good").tasks] == ["good"]
