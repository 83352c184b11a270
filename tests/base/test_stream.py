"""The stream file: paths relative to it, and one sentence for each mistake."""

import json
from pathlib import Path

import pytest

from cad_edge.data.stream import read_stream
from cad_edge.errors import DatasetError

GOOD = """
name: line 4
false_reject_rate: 0.01
tasks:
  - {name: cookie, path: images/cookie}
  - {name: candle-2, path: ../visa/candle, layout: visa}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("line/images/cookie", "line/images/pcb", "visa/candle"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "line"


def written(folder: Path, text: str, name: str = "stream.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file(folder):
    stream = read_stream(written(folder, GOOD))
    assert stream.name == "line 4"
    assert stream.false_reject_rate == 0.01
    assert [(task.name, task.path, task.layout) for task in stream.tasks] == [
        ("cookie", folder / "images/cookie", "mvtec"),
        ("candle-2", folder.parent / "visa/candle", "visa"),
    ]


def test_relative_file_gives_absolute_paths(folder, monkeypatch):
    written(folder, GOOD)
    monkeypatch.chdir(folder)
    assert read_stream(Path("stream.yaml")).tasks[0].path == folder / "images/cookie"


def test_json_with_absolute_path(folder):
    tasks = [{"name": "pcb", "path": str(folder / "images/pcb"), "layout": "folder"}]
    content = {"name": "a", "false_reject_rate": 0.05, "tasks": tasks}
    stream = read_stream(written(folder, json.dumps(content, indent="\t"), "stream.json"))
    assert stream.tasks[0].path == folder / "images/pcb"


def test_order_is_kept(folder):
    text = GOOD.replace("tasks:\n", "tasks:\n  - {name: zebra, path: images/pcb}\n")
    assert [task.name for task in read_stream(written(folder, text)).tasks] == [
        "zebra",
        "cookie",
        "candle-2",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: cookie", "name: a/b", r"tasks\.0\.name: .*; use up to 64 letters"),
        ("name: cookie", "name: ../b", r"tasks\.0\.name"),
        ("name: cookie", "name: .hidden", r"tasks\.0\.name"),
        ("name: cookie", "name: ''", r"tasks\.0\.name"),
        ("name: cookie", "name: 7", r"tasks\.0\.name"),
        ("name: cookie", "nme: cookie", r"tasks\.0\.\w+: .*(Field required|not permitted)"),
        (
            "layout: visa",
            "layout: coco",
            r"tasks\.1\.layout: .*'rgbd', 'mvtec3d', 'eyecandies' or 'instruction'",
        ),
        ("name: line 4", "name: ''", "name: "),
        ("name: line 4\n", "", "name: Field required"),
        ("name: line 4", "nmae: line 4", "Field required|not permitted"),
        ("0.01", "0", "false_reject_rate: .*greater than 0"),
        ("0.01", "1", "false_reject_rate: .*less than 1"),
        ("0.01", "1%", "false_reject_rate: .*number"),
        ("false_reject_rate: 0.01\n", "", "false_reject_rate: Field required"),
        ("name: cookie", "name: candle-2", "names the task candle-2 twice; rename"),
        ("name: cookie", "name: Candle-2", "names the task candle-2 twice; rename"),
        ("images/cookie", "../visa/../visa/candle", "to the tasks cookie and candle-2; give each"),
        (
            "images/cookie",
            "images/gone",
            r"the folder .*images/gone for the task cookie, which does",
        ),
        ("name: line 4", "name: line 4\nname: line 5", "the key name comes twice"),
        ("path: images/cookie", "path: images/cookie, path: b", "the key path comes twice"),
        ("tasks:", "tasks: [", "cannot be read as a stream file: .* in line"),
        ("name: line 4", "name: !!python/object:os.system line", "cannot be read as a stream"),
    ],
)
def test_mistakes_are_named(folder, old, new, message):
    assert old in GOOD
    with pytest.raises(DatasetError, match=message) as caught:
        read_stream(written(folder, GOOD.replace(old, new)))
    assert str(caught.value).startswith(str(folder / "stream.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tasks", ["[]", "", "cookie"])
def test_tasks_must_be_a_list_that_holds_some(folder, tasks):
    with pytest.raises(DatasetError, match=r"tasks: .*[Ll]ist"):
        read_stream(written(folder, f"name: a\nfalse_reject_rate: 0.1\ntasks: {tasks}\n"))


@pytest.mark.parametrize("text", ["", "- a", "just words", "7"])
def test_content_that_is_no_mapping(folder, text):
    with pytest.raises(DatasetError, match="not a valid stream file"):
        read_stream(written(folder, text))


@pytest.mark.parametrize("text", ["", "{", '{"name": "a", "name": "b"}', "[" * 100_000])
def test_broken_json(folder, text):
    with pytest.raises(DatasetError, match="cannot be read as a stream file"):
        read_stream(written(folder, text, "stream.json"))


def test_missing_file(folder):
    with pytest.raises(DatasetError, match=r"gone\.yaml cannot be read: No such file"):
        read_stream(folder / "gone.yaml")


def test_file_that_is_not_text(folder):
    (folder / "stream.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        read_stream(folder / "stream.yaml")


@pytest.fixture
def other(tmp_path) -> Path:
    """A second line: far/line holds other products under the same names, and is linked to."""
    for name in ("far/line/images/cookie", "far/visa/candle", "far/images/pcb", "images/pcb"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "far/line"


def learned(*lines: str) -> str:
    return "name: a\nfalse_reject_rate: 0.1\ntasks:\n" + "".join(f"  - {one}\n" for one in lines)


def test_steps_back_are_taken_from_where_a_link_leads(folder, other):
    """What the system opens as ``line/../visa/candle`` and what the name alone suggests differ."""
    linked = folder.parent / "linked"
    linked.symlink_to(other)
    written(other, GOOD)
    tasks = read_stream(linked / "stream.yaml").tasks
    assert [task.path.resolve() for task in tasks] == [
        other / "images/cookie",
        other.parent / "visa/candle",
    ]
    (folder / "there").symlink_to(other)
    text = learned("{name: pcb, path: there/../images/pcb}")
    (task,) = read_stream(written(folder, text)).tasks
    assert task.path.resolve() == other.parent / "images/pcb"
    assert ".." not in task.path.parts


def test_a_table_is_found_where_a_link_leads(folder, other):
    (folder / "there").symlink_to(other)
    text = learned("{name: pcb, path: images/pcb, group: {table: there/../g.csv}}")
    (task,) = read_stream(written(folder, text)).tasks
    assert task.group.table == other.parent / "g.csv"


def test_a_step_back_from_nowhere_leads_nowhere(folder):
    text = learned("{name: pcb, path: gone/../images/pcb}")
    with pytest.raises(DatasetError, match=r"names the folder .*gone/\.\./images/pcb for"):
        read_stream(written(folder, text))


def test_a_stream_file_that_is_a_link(folder, other, tmp_path):
    """Its products lie beside it or beside its target; where both do, nobody can tell."""
    written(other, learned("{name: cookie, path: images/cookie}"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/stream.yaml").symlink_to(other / "stream.yaml")
    (task,) = read_stream(tmp_path / "home/stream.yaml").tasks
    assert task.path == other / "images/cookie"
    (folder / "stream.yaml").symlink_to(other / "stream.yaml")
    with pytest.raises(DatasetError, match="is a link, and its images/cookie can be"):
        read_stream(folder / "stream.yaml")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("images/cookie", "linked"),
        ("linked", "images/cookie"),
        ("images/cookie", "linked/../cookie"),
        ("images/cookie", "images/./cookie"),
    ],
)
def test_one_folder_under_two_names(folder, first, second):
    (folder / "linked").symlink_to(folder / "images/cookie")
    text = learned(f"{{name: a, path: {first}}}", f"{{name: b, path: {second}}}")
    with pytest.raises(DatasetError, match="to the tasks a and b; give each product its own"):
        read_stream(written(folder, text))


@pytest.mark.parametrize(
    "inner", ["images/cookie/train/good", "linked/good", "images/cookie/train"]
)
def test_a_product_within_what_another_learns_from(folder, inner):
    (folder / "images/cookie/train/good").mkdir(parents=True)
    (folder / "linked").symlink_to(folder / "images/cookie/train")
    tasks = ["{name: a, path: images/cookie}", f"{{name: b, path: {inner}, layout: folder}}"]
    for order in (tasks, tasks[::-1]):
        with pytest.raises(DatasetError, match=r"is learned from .*cookie/train, which"):
            read_stream(written(folder, learned(*order)))


def test_products_may_lie_beside_what_another_learns_from(folder):
    for name in ("images/cookie/train/good", "images/cookie/second/train/good"):
        (folder / name).mkdir(parents=True)
    text = learned("{name: a, path: images/cookie}", "{name: b, path: images/cookie/second}")
    assert len(read_stream(written(folder, text)).tasks) == 2


def test_steps_group_the_tasks(folder):
    stream = read_stream(written(folder, GOOD + "steps: [[cookie, candle-2]]\n"))
    assert [[task.name for task in step] for step in stream.grouped()] == [["cookie", "candle-2"]]


def test_without_steps_every_task_is_one(folder):
    stream = read_stream(written(folder, GOOD))
    assert [[task.name for task in step] for step in stream.grouped()] == [["cookie"], ["candle-2"]]


@pytest.mark.parametrize(
    "steps",
    [
        "[[cookie]]",
        "[[candle-2], [cookie]]",
        "[[cookie], [cookie, candle-2]]",
        "[[cookie, candle-2], []]",
        "[[cookie], [candle-2], [pcb]]",
    ],
)
def test_steps_hold_every_task_once_and_in_order(folder, steps):
    with pytest.raises(DatasetError, match="has steps that do not hold every task once"):
        read_stream(written(folder, f"{GOOD}steps: {steps}\n"))
