"""Parts in several views: which images belong together, and what the records say of them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cad_edge.data.dataset import read_product
from cad_edge.data.labelled import LabelledSplit, split_labelled
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import StreamTask, read_stream
from cad_edge.errors import DatasetError
from cad_edge.schema import canonical_json, parse_json
from cad_edge.store.manifest import Engine

RECIPE = {"width": 32, "height": 32}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(root / name)


def part(root: Path, folder: str, views: int = 2) -> tuple[Path, ...]:
    """Write a part, its views in another order than that of their names."""
    names = [f"{folder}/{number}.png" for number in range(views)]
    touch(root, *reversed(names))
    return tuple(root / name for name in names)


def stream_of(folder: Path, **task: object) -> StreamTask:
    record = {"name": "nut", "path": "nut"} | task
    (folder / "line.json").write_text(
        json.dumps({"name": "line", "false_reject_rate": 0.1, "tasks": [record]})
    )
    return read_stream(folder / "line.json").tasks[0]


def test_a_folder_of_views_stands_where_an_image_would(tmp_path):
    good = [part(tmp_path, f"train/good/{name}") for name in ("b", "a")]
    tested = part(tmp_path, "test/good/0")
    cut = part(tmp_path, "test/cut/0")
    touch(tmp_path, "ground_truth/cut/0_mask.png", "train/good/.hidden.png")
    (tmp_path / "train/good/notes").mkdir()
    found = read_product(tmp_path, views=2)
    assert found.train_views() == (good[1], good[0])
    assert found.train == (good[1][0], good[0][0])
    assert [item.views for item in found.test] == [tested, cut]
    assert [(item.label, item.mask) for item in found.test] == [("good", None), ("cut", None)]


def test_a_folder_of_good_parts_and_one_view_are_as_they_were(tmp_path):
    expected = part(tmp_path, "parts/0", 3)
    assert read_product(tmp_path / "parts", "folder", 3).train_views() == (expected,)
    touch(tmp_path, "single/a.png", "single/b.png")
    single = read_product(tmp_path / "single", "folder")
    assert single.train_more == ()
    assert single.train_views() == tuple((path,) for path in single.train)


@pytest.mark.parametrize(
    ("layout", "names", "sentence"),
    [
        ("mvtec", ["train/good/0/0.png"], r"good/0 holds 1 image where the task has views: 2"),
        ("mvtec", [f"train/good/0/{n}.png" for n in range(3)], r"0 holds 3 images where .* every"),
        ("mvtec", ["train/good/0.png"], r"0\.png is one image where the task has views: 2; put"),
        ("mvtec", ["test/good/0/0.png"], r"train/good does not exist; put a folder of 2 images"),
        ("folder", ["notes/.hidden.png"], r"holds no folder of views; put a folder of 2 images"),
        (
            "rgbd",
            ["train/good/rgb/0.png"],
            r"layout rgbd has one image of each part; leave `views`",
        ),
        ("visa", ["a.png"], r"layout visa has one image of each part"),
    ],
)
def test_another_number_of_views_is_one_sentence(tmp_path, layout, names, sentence):
    touch(tmp_path, *names)
    with pytest.raises(DatasetError, match=sentence) as problem:
        read_product(tmp_path, layout, 2)
    assert "\n" not in str(problem.value)


def test_every_part_is_dealt_whole(tmp_path):
    parts = {part(tmp_path, f"train/good/{number:02}") for number in range(10)}
    cut = {part(tmp_path, f"test/cut/{number:02}") for number in range(5)}
    dealt = split_labelled(read_product(tmp_path, views=2), LabelledSplit())
    learned = {*dealt.train_views(), *(item.views for item in dealt.defective)}
    tested = {item.views for item in dealt.test}
    assert len(tested) == 3 and learned | tested == parts | cut and not learned & tested
    assert {item.views for item in dealt.defective} <= cut


def conversation(image: object, answer: str) -> dict[str, object]:
    turns = [{"from": "human", "value": "<image><image>\n?"}, {"from": "gpt", "value": answer}]
    return {"image": image, "conversations": turns}


def test_instructions_name_the_views_in_their_order(tmp_path):
    touch(tmp_path, *(f"{number}.png" for number in range(4)))
    entries = [conversation(["1.png", "0.png"], "No"), conversation(["1.png", "2.png"], "Yes")]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    found = read_product(tmp_path, "instruction", 2)
    assert found.train_views() == ((tmp_path / "1.png", tmp_path / "0.png"),)
    yes = LabelledImage(tmp_path / "1.png", "anomaly", more=(tmp_path / "2.png",))
    assert found.defective == (yes,)


@pytest.mark.parametrize(
    ("image", "views", "sentence"),
    [
        ("0.png", 2, r"entry 0 has 1 image where the task has views: 2; give every entry a list"),
        (["0.png"], 2, r"entry 0 has 1 image where"),
        (["0.png"] * 3, 2, r"entry 0 has 3 images where"),
        ([], 2, r"entry 0 has 0 images where"),
        (["0.png", 7], 2, r"entry 0 lacks an image"),
        (["0.png", "9.png"], 2, r"entry 0 names 9\.png, which does not exist"),
        (["0.png", "0.png"], 1, r"entry 0 has several images; give one .* or the task `views`"),
    ],
)
def test_instructions_with_another_number_of_images(tmp_path, image, views, sentence):
    touch(tmp_path, "0.png")
    (tmp_path / "a.json").write_text(json.dumps([conversation(image, "No")]))
    with pytest.raises(DatasetError, match=sentence):
        read_product(tmp_path, "instruction", views)


def test_a_stream_task_says_how_many_views(tmp_path):
    expected = part(tmp_path, "nut/train/good/0", 3)
    task = stream_of(tmp_path, views=3)
    assert task.samples().train_views() == (expected,)
    with pytest.raises(DatasetError, match=r"task nut has views: 3, and this looks at one image"):
        task.images()
    with pytest.raises(DatasetError, match=r"tasks\.0\.views: Input should be greater"):
        stream_of(tmp_path, views=0)


def engine(views: int) -> Engine:
    stages = [{"graph": "0" * 64, "inputs": {}}]
    return Engine.model_validate(
        {"recipe": RECIPE, "stages": stages, "tensors": None, "layout": "shared"}
        | {"precision": "fp32", "views": views}
    )


def test_one_view_is_not_written(tmp_path):
    """So that records of single images keep their bytes, and what was written before is read."""
    (tmp_path / "nut").mkdir()
    assert b"views" not in canonical_json(engine(1))
    assert b"views" not in canonical_json(stream_of(tmp_path))
    several = canonical_json(engine(4))
    assert json.loads(several)["views"] == 4
    for views in (1, 4):
        assert parse_json(Engine, canonical_json(engine(views)), "", ValueError) == engine(views)
