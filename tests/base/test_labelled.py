"""Dealing labelled images, and reading images with questions and answers."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cad_edge.data.dataset import read_product
from cad_edge.data.labelled import LabelledSplit, split_labelled
from cad_edge.data.product import LabelledImage, ProductImages
from cad_edge.data.stream import read_stream
from cad_edge.errors import DatasetError


def product(good: int, tested: int, defective: int) -> ProductImages:
    return ProductImages(
        train=tuple(Path(f"/p/train/good/{number:03}.png") for number in range(good)),
        test=(
            *(LabelledImage(Path(f"/p/test/good/{number:03}.png")) for number in range(tested)),
            *(
                LabelledImage(Path(f"/p/test/cut/{number:03}.png"), "cut")
                for number in range(defective)
            ),
        ),
    )


def everything(dealt: ProductImages) -> list[Path]:
    return [*dealt.train, *(item.path for item in (*dealt.defective, *dealt.test))]


def test_every_image_is_dealt_once_and_eight_to_two():
    dealt = split_labelled(product(60, 20, 20), LabelledSplit())
    assert len(dealt.test) == 20 and len(dealt.train) + len(dealt.defective) == 80
    assert len(set(everything(dealt))) == 100
    assert all(item.anomalous for item in dealt.defective)
    assert [item.anomalous for item in dealt.test] == sorted(item.anomalous for item in dealt.test)
    # about a fifth of each class, as 100 draws without replacement make it
    assert 1 <= sum(item.anomalous for item in dealt.test) <= 9


def test_the_deal_depends_on_seed_and_names_alone():
    first = split_labelled(product(60, 20, 20), LabelledSplit())
    assert split_labelled(product(60, 20, 20), LabelledSplit()) == first
    assert split_labelled(product(60, 20, 20), LabelledSplit(seed=1)) != first
    shuffled = product(60, 20, 20)
    assert split_labelled(
        ProductImages(shuffled.train[::-1], test=shuffled.test[::-1]), LabelledSplit()
    ) == (first)


def test_too_few_images_are_one_sentence():
    with pytest.raises(DatasetError, match=r"2 labelled images dealt with test_share 0\.2 leave"):
        split_labelled(product(1, 0, 1), LabelledSplit())


def test_depth_is_not_dealt():
    with pytest.raises(DatasetError, match="leave `labelled` out"):
        split_labelled(ProductImages(train=(Path("a"),), train_depth=(Path("b"),)), LabelledSplit())


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(folder / name)


def test_a_stream_deals_its_task(tmp_path):
    names = [f"test/{kind}/{number}.png" for kind in ("good", "cut") for number in range(5)]
    write_images(tmp_path / "nut", *(f"train/good/{number}.png" for number in range(10)), *names)
    task = {"name": "nut", "path": "nut", "labelled": {"test_share": 0.25}}
    stream = {"name": "line", "false_reject_rate": 0.1, "tasks": [task]}
    (tmp_path / "line.json").write_text(json.dumps(stream))
    (read,) = read_stream(tmp_path / "line.json").tasks
    dealt = read.images()
    assert len(dealt.test) == 5 and len(everything(dealt)) == 20
    assert read.model_copy(update={"labelled": None}).images() == read_product(tmp_path / "nut")


def conversation(image, answer, question="<image>\nAny defects?"):
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": "1", "image": image, "conversations": turns}


def test_instructions_are_read_by_their_first_answer(tmp_path):
    write_images(tmp_path, "zip/0.png", "zip/1.png", "zip/2.png")
    entries = [
        conversation("zip/1.png", "Yes"),
        conversation("zip/0.png", "No."),
        conversation("zip/2.png", " no "),
        conversation("zip/1.png", "yes"),
    ]
    (tmp_path / "train.json").write_text(json.dumps(entries))
    found = read_product(tmp_path, "instruction")
    assert found.train == (tmp_path / "zip/0.png", tmp_path / "zip/2.png")
    assert found.defective == (LabelledImage(tmp_path / "zip/1.png", "anomaly"),)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([conversation("0.png", "Perhaps")], "entry 0 is answered with 'Perhaps'"),
        ([conversation("9.png", "No")], "entry 0 names 9.png, which does not exist"),
        ([conversation(["0.png", "1.png"], "No")], "entry 0 has several images"),
        ([conversation("0.png", "No"), conversation("0.png", "Yes")], "entry 1 answers otherwise"),
        ([{"image": "0.png"}], "entry 0 lacks an image, a question or its answer"),
        ([conversation("0.png", "Yes")], "holds no image answered with No"),
        ({"a": 1}, "is no list of conversations"),
    ],
)
def test_bad_instructions_are_one_sentence(entries, sentence, tmp_path):
    write_images(tmp_path, "0.png")
    (tmp_path / "train.json").write_text(json.dumps(entries))
    with pytest.raises(DatasetError, match=sentence) as problem:
        read_product(tmp_path, "instruction")
    assert "\n" not in str(problem.value)


def test_a_folder_without_instructions_and_broken_json_are_named(tmp_path):
    with pytest.raises(DatasetError, match="holds no JSON file"):
        read_product(tmp_path, "instruction")
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(DatasetError, match=r"train\.json is not JSON"):
        read_product(tmp_path, "instruction")
