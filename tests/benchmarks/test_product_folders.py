"""Products found by their folders: the layout of each, and images of two folders under one name."""

import pytest

from cad_edge.data.dataset import read_product
from cad_edge.data.image import decode_image
from cad_edge.data.product_folders import find_products
from cad_edge.data.products import read_products
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError
from cad_edge_benchmarks.protocol.plan import plan_of
from cad_edge_benchmarks.protocol.task_sequence import TaskSequence
from tests.benchmarks.protocol_datasets import (
    write_cloud,
    write_eyecandies,
    write_image,
    write_mvtec,
    write_mvtec3d,
)


@pytest.fixture
def products(tmp_path):
    write_mvtec(tmp_path, ["bottle"])
    write_mvtec3d(tmp_path, ["bagel"])
    write_eyecandies(tmp_path, ["Lollipop"])
    for place in ("train/good/rgb/0.png", "train/good/depth/0.png"):
        write_image(tmp_path / "asphalt" / place)
    return tmp_path


LAYOUTS = {
    "Lollipop": "eyecandies",
    "asphalt": "rgbd",
    "bagel": "mvtec3d",
    "bottle": "mvtec",
}


def test_layouts_are_known_by_their_folders(products):
    found = find_products(products, ["*"])
    assert {name: layout for name, (_, layout) in found.items()} == LAYOUTS
    for name, (path, layout) in found.items():
        assert path == products / name
        assert read_product(path, layout).train


def test_two_products_of_one_name(products):
    write_eyecandies(products / "more", ["Lollipop"])
    with pytest.raises(DatasetError, match="holds two products named Lollipop; rename one"):
        find_products(products, ["*", "*/*"])


def test_a_linked_product_is_no_second_one(products):
    (products / "more").mkdir()
    (products / "more/bottle").symlink_to(products / "bottle")  # one folder, one name
    assert {task.name for task in read_products(products).tasks} == set(LAYOUTS)
    (products / "flask").symlink_to(products / "bottle")
    with pytest.raises(DatasetError, match=r"flask and .*bottle are one folder, and would be"):
        read_products(products)


def test_hidden_folders_hold_no_products(products):
    for name in (".trash", "@eaDir"):
        write_image(products / name / "train/good/0.png")
    assert {task.name for task in read_products(products).tasks} == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_product_and_a_folder_of_them_are_read(products, name):
    assert [task.layout for task in read_products(products / name).tasks] == [LAYOUTS[name]]
    assert {task.name: task.layout for task in read_products(products).tasks} == LAYOUTS


def test_synthetic_anomalies_keep_images_of_one_name_apart(tmp_path):
    """Names come twice in MVTec 3D-AD: in train and in validation."""
    pytest.importorskip("torch")
    from cad_edge_benchmarks.advise.validation_split import write_synthetic

    for number in range(12):
        folder = "train" if number < 8 else "validation"
        place = tmp_path / f"bagel/{folder}/good"
        write_image(place / f"rgb/{number % 8:03d}.png", 10 * number)
        write_cloud(place / f"xyz/{number % 8:03d}.tiff")
    task = StreamTask(name="bagel", path=tmp_path / "bagel", layout="mvtec3d")
    before = {path: path.read_bytes() for path in (tmp_path / "bagel").rglob("*.*")}
    source, images = write_synthetic(task, task.images(), tmp_path / "place", 0)
    good = {one.origin: one.image.path for one in images if not one.image.anomalous}
    learned = read_product(source.path).train
    assert (len(learned), len(good)) == (8, 4)
    shown = sorted(int(decode_image(path)[0, 0, 0]) for path in (*learned, *good.values()))
    assert shown == [10 * number for number in range(12)]
    assert {path: path.read_bytes() for path in before} == before


def test_a_plan_knows_depth(products):
    """Other depth is another product, and its folder must not be gone on with."""

    def described():
        tasks = [StreamTask(name="bagel", path=products / "bagel", layout="mvtec3d")]
        return plan_of(TaskSequence("line", (tuple(tasks),), 0.1, False), "line", {}).images

    before = described()
    assert described() == before
    cloud = products / "bagel/validation/good/xyz/000.tiff"
    cloud.write_bytes(cloud.read_bytes() + b" ")
    assert described() != before
