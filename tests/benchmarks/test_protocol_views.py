"""Folders of links: classes with fewer training images."""

import pytest

from cad_edge_benchmarks.instruments.image_folders import link_image
from cad_edge_benchmarks.protocol.compat import VISA_TRAIN_CAP, read_compats
from cad_edge_benchmarks.protocol.plan import check_products, with_views
from tests.benchmarks.protocol_datasets import VISA, found, write_image, write_mvtec3d, write_visa


def test_nothing_is_written_through_a_link(tmp_path):
    first, second = write_image(tmp_path / "a/0.png", 1), write_image(tmp_path / "b/0.png", 2)
    before = first.read_bytes()
    link_image(first, tmp_path / "pool/0.png")
    with pytest.raises(FileExistsError):
        link_image(second, tmp_path / "pool/0.png")
    assert first.read_bytes() == before


@pytest.fixture
def visa(tmp_path):
    names = VISA.split()
    root = write_visa(tmp_path / "visa", names[1:])
    rows = (root / "split_csv/1cls.csv").read_text()
    many = write_visa(tmp_path / "many", names[:1], train=VISA_TRAIN_CAP + 3)
    (root / names[0]).symlink_to(many / names[0])
    more = (many / "split_csv/1cls.csv").read_text().partition("\n")[2]
    (root / "split_csv/1cls.csv").write_text(rows + more)
    return root


def test_the_cap_takes_the_first_training_images_and_every_test_image(visa, tmp_path):
    sequence = found("visa/11-1", [visa])
    whole = {task.name: task.images() for task in sequence.tasks}
    assert len(whole["candle"].train) == VISA_TRAIN_CAP + 3
    viewed = with_views(sequence, tmp_path / "out", read_compats(["visa_train_cap"]))
    assert [[task.name for task in step] for step in viewed.steps] == [
        [task.name for task in step] for step in sequence.steps
    ]
    for task in viewed.tasks:
        capped, before = task.images(), whole[task.name]
        names = [path.name for path in before.train[:VISA_TRAIN_CAP]]
        assert [path.name for path in capped.train] == names
        assert [item.path.resolve() for item in capped.test] == [
            item.path.resolve() for item in before.test
        ]
        assert [item.mask is None for item in capped.test] == [
            item.mask is None for item in before.test
        ]


def test_tasks_without_one_class_of_test_images_are_named(tmp_path):
    sequence = found("mvtec3d/10-0", [_without_defects(tmp_path)])
    assert check_products(sequence) == [
        "bagel has only good test images",
        "carrot has no test images",
    ]


def _without_defects(folder):
    from shutil import rmtree

    from tests.benchmarks.protocol_datasets import MVTEC3D

    root = write_mvtec3d(folder / "3d", MVTEC3D.split())
    rmtree(root / "bagel/test/hole")
    rmtree(root / "carrot/test")
    return root
