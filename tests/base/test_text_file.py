"""Text files that people write: plain, and of bounded size and meaning; refused within seconds."""

import json
import os
from pathlib import Path

import pytest

from cad_edge.data.dataset import read_product
from cad_edge.data.grouping import GroupRule
from cad_edge.data.products import read_products
from cad_edge.data.stream import read_stream
from cad_edge.data.text_file import MAXIMUM_BYTES, MAXIMUM_VALUES, NotReadable, parse_yaml
from cad_edge.errors import DatasetError
from tests.base.not_files import NOT_FILES, within
from tests.base.test_folder_listing import touch

pytestmark = pytest.mark.torchless

HEAD = "name: line\nfalse_reject_rate: 0.1\n"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def refused(path: Path) -> str:
    with within(60), pytest.raises(DatasetError) as caught:
        read_products(path)
    said = str(caught.value)
    assert str(path) in said and "\n" not in said and len(said) < 600
    return said


@pytest.fixture
def bolt(tmp_path) -> Path:
    return touch(tmp_path, "bolt/train/good/0.png")


@pytest.mark.parametrize("kind", sorted(NOT_FILES))
@pytest.mark.parametrize("name", ["line.yaml", "line.json", "line"])
def test_what_is_no_file_is_no_stream_file(tmp_path, kind, name):
    path = tmp_path / name
    NOT_FILES[kind](path)
    said = refused(path)
    if name == "line" and kind not in ("a folder", "a symbolic link to nothing"):
        assert "is neither a file nor a folder" in said
    elif kind in ("a FIFO", "a socket"):
        assert f"cannot be read: it is {kind}, not a plain file; give a YAML or JSON stream" in said


@pytest.mark.parametrize("name", ["line.yaml", "line.json"])
def test_a_stream_file_may_be_a_link(bolt, name):
    content = {"name": "a", "false_reject_rate": 0.1, "tasks": [{"name": "bolt", "path": "bolt"}]}
    (bolt / "far").write_text(json.dumps(content))
    (bolt / name).symlink_to("far")
    assert [task.name for task in read_products(bolt / name).tasks] == ["bolt"]


@pytest.mark.parametrize("name", ["line.yaml", "line.json"])
def test_a_file_that_is_too_large(tmp_path, name):
    path = tmp_path / name
    path.touch()
    os.truncate(path, MAXIMUM_BYTES + 1)
    assert "holds 4,194,305 bytes, and at most 4,194,304 belong there" in refused(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS + HEAD + "tasks: *i\n", "holds more than 100,000 values, those that its aliases"),
        (LAUGHS, "holds more than 100,000 values, those that its aliases"),
        (MERGES, "holds more than 100,000 values, those that its aliases"),
        (HEAD + "tasks: &a\n- *a\n", "what begins in line 3 holds itself"),
        (HEAD + "tasks: [" + "a," * MAXIMUM_VALUES + "]", "holds more than 100,000 values"),
        (f"a: {'!' * 20_000}", "could not determine a constructor"),
        (HEAD + "tasks: " + "[" * 5000, "nested too deep"),
        (HEAD + "tasks: " + "[" * 150 + "]" * 150, "nested too deep"),
        (HEAD + f"rate: {'9' * 5000}\n", "a number in line 3 has 5,000 digits"),
        (HEAD + f"rate: {'9' * 5000}.5\n", "a number in line 3 has 5,002 digits"),
        (HEAD + f"rate: 1{':59' * 50_000}\n", "a number in line 3 has 150,001 digits"),
    ],
)
def test_yaml_that_means_too_much(tmp_path, text, words):
    path = tmp_path / "line.yaml"
    path.write_text(text)
    said = refused(path)
    assert words in said and said.startswith(f"{path} cannot be read as a stream file: ")
    assert "set_int_max" not in said and "recursion" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'{{"name": "a", "false_reject_rate": {"9" * 5000}}}', "a number has 5,000 digits"),
        (f'{{"name": "a", "false_reject_rate": 0.{"9" * 5000}}}', "a number has 5,002 digits"),
        ("[" * 100_000, "nested too deep"),
        ('{"tasks": ' + "[" * 150 + "]" * 150 + "}", "nested too deep"),
        ('{"tasks": [' + "1," * MAXIMUM_VALUES + "1]}", "holds more than 100,000 values"),
        (
            "{" + ",".join(f'"{n}": 1' for n in range(90_000)) + ', "7": 2}',
            "the key 7 comes twice",
        ),
    ],
)
def test_json_that_means_too_much(tmp_path, text, words):
    path = tmp_path / "line.json"
    path.write_text(text)
    said = refused(path)
    assert words in said and "set_int_max" not in said and "recursion" not in said


@pytest.mark.parametrize("field", ["tasks", "name", "steps"])
def test_an_error_about_as_much_as_may_be(tmp_path, field):
    """An alias may stand for many values, each of which is a mistake."""
    path = tmp_path / "line.yaml"
    path.write_text("a: &a [" + "{x: 1}, " * 200 + f"]\n{field}: [{'*a, ' * 150}]\n")
    assert "is not a valid stream file" in refused(path)


def test_aliases_serve_for_what_tasks_have_in_common(bolt):
    touch(bolt, "nut/train/good/0.png")
    path = bolt / "line.yaml"
    path.write_text(
        HEAD + "tasks:\n- &a {name: bolt, path: bolt, layout: mvtec}\n"
        "- {<<: *a, name: nut, path: nut}\n"
    )
    assert [task.layout for task in read_stream(path).tasks] == ["mvtec", "mvtec"]


def test_many_tasks_are_read(bolt):
    with within(60):
        found = parse_yaml(
            HEAD + "tasks:\n" + "".join(f"- {{name: t{n}, path: bolt}}\n" for n in range(4096))
        )
    assert isinstance(found, dict) and len(found["tasks"]) == 4096


def test_a_count_of_values_is_exact():
    assert len(parse_yaml("[a: 1, b]")) == 2
    with pytest.raises(NotReadable, match="the key a comes twice"):
        parse_yaml("{a: 1, a: 2}")


class TestSiblings:
    """Other text files beside the pictures."""

    def refusal(self, product: Path, layout: str) -> str:
        with within(60), pytest.raises(DatasetError) as caught:
            read_product(product, layout)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
        return str(caught.value)

    def test_the_table_of_groups(self, tmp_path):
        os.mkfifo(tmp_path / "groups.csv")
        rule = GroupRule(table=tmp_path / "groups.csv")
        with (
            within(60),
            pytest.raises(DatasetError, match=r"groups\.csv cannot be read: it is a F"),
        ):
            rule.names(["a.png", "b.png"], "")

    def test_the_split_of_visa(self, tmp_path):
        (tmp_path / "candle").mkdir()
        (tmp_path / "split_csv").mkdir()
        os.mkfifo(tmp_path / "split_csv/1cls.csv")
        assert "1cls.csv cannot be read: it is a FIFO" in self.refusal(tmp_path / "candle", "visa")

    def test_conversations(self, tmp_path):
        os.mkfifo(tmp_path / "train.json")
        assert "train.json cannot be read: it is a F" in self.refusal(tmp_path, "instruction")
        (tmp_path / "train.json").unlink()
        for text in ("[" * 100_000, f"[{'9' * 5000}]"):
            (tmp_path / "train.json").write_text(text)
            said = self.refusal(tmp_path, "instruction")
            assert "train.json is not JSON (" in said and "set_int_max" not in said

    @pytest.mark.parametrize("text", [None, LAUGHS, f"anomalous: {'9' * 5000}"])
    def test_labels_of_eyecandies(self, tmp_path, text):
        for data in ("train/data", "test_public/data"):
            touch(tmp_path, f"{data}/0_image_4.png", f"{data}/0_depth.png")
            (tmp_path / data / "0_info_depth.yaml").write_text("normalization: {min: 1, max: 2}")
        path = tmp_path / "test_public/data/0_metadata.yaml"
        if text is None:
            os.mkfifo(path)
        else:
            path.write_text(text)
        words = "cannot be read: it is a FIFO" if text is None else "is not YAML: "
        assert f"{path} {words}" in self.refusal(tmp_path, "eyecandies")
