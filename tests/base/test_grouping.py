"""Groups of images: every form in the stream file, and one sentence for each that tells nothing."""

import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from cad_edge.calibration import Calibration, decide
from cad_edge.data.dataset import read_product
from cad_edge.data.grouping import GroupRule
from cad_edge.data.stream import Stream, StreamTask, read_stream
from cad_edge.errors import DatasetError

FOUR = [f"train/good/{name}.png" for name in ("1_a", "1_b", "2_a", "2_b")]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("I;16" if "depth" in name else "L", (8, 8)).save(root / name)


def table(folder: Path, *lines: str, header: str = "file,group") -> None:
    (folder / "groups.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


@pytest.fixture
def place(tmp_path) -> Path:
    touch(tmp_path / "nut", *FOUR, "test/good/9.png")
    return tmp_path


def stream_of(place: Path, group: object, **task: object) -> Stream:
    record = {"name": "nut", "path": "nut", "group": group} | task
    line = {"name": "line", "false_reject_rate": 0.1, "tasks": [record]}
    (place / "line.json").write_text(json.dumps(line))
    return read_stream(place / "line.json")


def task_of(place: Path, group: object, **task: object) -> StreamTask:
    return stream_of(place, group, **task).tasks[0]


def groups(place: Path, group: object, **task: object) -> tuple[str, ...] | None:
    task_read = task_of(place, group, **task)
    return task_read.groups(task_read.samples())


def refused(place: Path, group: object, **task: object) -> str:
    """Sentence of a rule that is well written and does not fit the images."""
    with pytest.raises(DatasetError) as caught:
        groups(place, group, **task)
    said = str(caught.value)
    assert said.startswith("task nut: ") and "\n" not in said
    return said


def test_without_a_rule_every_image_stands_for_itself(place):
    assert groups(place, None) is None
    bare = StreamTask(name="nut", path=place / "nut")
    assert bare.groups(bare.samples()) is None
    assert "group" not in bare.model_dump(mode="json")


class TestPattern:
    def test_first_capturing_group_names_it(self, place):
        assert groups(place, {"pattern": r"/(\d)_"}) == ("1", "1", "2", "2")

    def test_whole_match_without_a_capturing_group(self, place):
        assert groups(place, {"pattern": r"\d_"}) == ("1_", "1_", "2_", "2_")

    def test_path_is_below_the_products_folder_and_a_stream_file_is_yaml(self, place):
        touch(place, "3_flat/1_a.png", "3_flat/2_a.png")
        (place / "line.yaml").write_text(
            "name: line\nfalse_reject_rate: 0.1\ntasks:\n"
            "  - {name: nut, path: 3_flat, layout: folder, group: {pattern: '^(\\d+)_'}}\n"
        )
        (task,) = read_stream(place / "line.yaml").tasks
        assert task.groups(task.samples()) == ("1", "2")

    def test_parts_in_several_views_are_told_by_their_first(self, tmp_path):
        touch(
            tmp_path / "nut", *(f"train/good/{part}/{view}.png" for part in "abc" for view in "01")
        )
        assert groups(tmp_path, {"pattern": "(a|[bc])/0"}, views=2) == ("a", "b", "c")
        assert groups(tmp_path, {"pattern": "good/(a|[bc])"}, views=2) == ("a", "b", "c")

    def test_labelled_images_are_told_apart_after_the_deal(self, place):
        touch(place / "nut", "test/cut/3_c.png")
        rule, deal = {"pattern": r"(\d)(_.)?\.png"}, {"test_share": 0.4, "seed": 1}
        task = task_of(place, rule, labelled=deal)
        product = task.samples()
        assert task.groups(product) == tuple(path.stem[0] for path in product.train)

    def test_no_image_matches(self, place):
        assert "'^batch' of `group` matches no image of good parts, for example not " in refused(
            place, {"pattern": "^batch"}
        )

    def test_an_image_is_missed(self, place):
        said = refused(place, {"pattern": "(1)_|(x)2_"})
        assert "names no group for train/good/2_a.png (and 1 more); correct it" in said

    @pytest.mark.parametrize(
        ("pattern", "said"),
        [("_(b?)", "names no group for train/good/1_a.png"), ("(z)?_", "matches no image")],
    )
    def test_an_empty_name_is_none(self, place, pattern, said):
        assert said in refused(place, {"pattern": pattern})

    def test_one_group_alone(self, place):
        said = refused(place, {"pattern": "train"})
        assert "puts all 4 images of good parts into one group, 'train'" in said
        assert "or leave `group` out" in said


class TestTable:
    def test_names_files_and_groups(self, place):
        table(place, *(f"{name},{name[11]}" for name in reversed(FOUR)), "test/good/9.png,")
        assert groups(place, {"table": "groups.csv"}) == ("1", "1", "2", "2")

    def test_path_is_relative_to_the_stream_file(self, place):
        task = task_of(place, {"table": "nut/../groups.csv"})
        assert task.group.table == place / "groups.csv"
        assert task_of(place, {"table": "/data/groups.csv"}).group.table == Path("/data/groups.csv")

    def test_other_columns_a_byte_order_mark_and_spaces(self, place):
        lines = [f"./{name} , batch {name[11]} ,x" for name in FOUR]
        (place / "groups.csv").write_text(
            "\n".join(["image, batch,note", *lines]), encoding="utf-8-sig"
        )
        rule = {"table": "groups.csv", "file_column": "image", "group_column": "batch"}
        assert groups(place, rule) == ("batch 1", "batch 1", "batch 2", "batch 2")

    def test_pattern_is_searched_in_the_group(self, place):
        sources = [f"{name},d/{name[11]}.png@{place}" for place, name in enumerate(FOUR)]
        table(place, *sources, header="file,source")
        rule = {"table": "groups.csv", "group_column": "source", "pattern": "^[^@]+"}
        assert groups(place, rule) == ("d/1.png", "d/1.png", "d/2.png", "d/2.png")

    @pytest.mark.parametrize("plane", ["*", "rgb"])
    def test_a_star_stands_for_the_folder_of_the_plane(self, tmp_path, plane):
        for number in range(3):
            touch(tmp_path / "nut", *(f"train/good/{p}/{number}.png" for p in ("rgb", "depth")))
        table(tmp_path, *(f"train/good/{plane}/{number}.png,{number}" for number in range(3)))
        assert groups(tmp_path, {"table": "groups.csv"}, layout="rgbd") == ("0", "1", "2")

    def test_a_file_may_be_listed_twice_with_one_group(self, place):
        table(place, *(f"{name},{name[11]}@{n}" for name in FOUR for n in range(2)))
        rule = {"table": "groups.csv", "pattern": "^[^@]+"}
        assert groups(place, rule) == ("1", "1", "2", "2")
        said = refused(place, {"table": "groups.csv"})
        assert "lists train/good/1_a.png twice, in the groups '1@0' and '1@1'; keep one" in said

    def test_a_file_is_missing(self, place):
        table(place, *(f"{name},{name[11]}" for name in FOUR[:2]))
        said = refused(place, {"table": "groups.csv"})
        assert f"{place / 'groups.csv'} lacks train/good/2_a.png (and 1 more)" in said

    def test_a_group_is_empty(self, place):
        table(place, *(f"{name},1" for name in FOUR[1:]), FOUR[0])
        said = refused(place, {"table": "groups.csv"})
        assert "groups.csv leaves the group of train/good/1_a.png empty; fill it in" in said

    def test_the_pattern_misses_a_group(self, place):
        table(place, *(f"{name},{name[11]}" for name in FOUR))
        said = refused(place, {"table": "groups.csv", "pattern": "1"})
        assert "the pattern '1' of `group` names no group in '2', which" in said
        assert "has for train/good/2_a.png; correct one of them" in said

    def test_a_column_is_missing(self, place):
        table(place, header="file,batch")
        said = refused(place, {"table": "groups.csv"})
        assert "groups.csv has no column group but file, batch; name its columns by" in said
        said = refused(place, {"table": "groups.csv", "file_column": "image"})
        assert "groups.csv has no column image but" in said

    def test_nothing_is_in_it(self, place):
        (place / "groups.csv").write_bytes(b"")
        assert "has no column file but no header" in refused(place, {"table": "groups.csv"})

    def test_it_cannot_be_read(self, place):
        assert "gone.csv cannot be read: No such file" in refused(place, {"table": "gone.csv"})
        assert "nut cannot be read: " in refused(place, {"table": "nut"})
        (place / "groups.csv").write_bytes(b"file,group\n\xff\xfe,1\n")
        assert "groups.csv cannot be read as CSV" in refused(place, {"table": "groups.csv"})

    def test_one_group_alone(self, place):
        table(place, *(f"{name},1" for name in FOUR))
        assert "into one group, '1'" in refused(place, {"table": "groups.csv"})


def test_a_table_may_write_accents_in_either_way(tmp_path):
    written = (("NFC", "stück_0.png"), ("NFD", "stück_1.png"))
    names = [unicodedata.normalize(form, name) for form, name in written]
    touch(tmp_path / "nut", *(f"train/good/{name}" for name in names))
    rows = [f"train/good/{unicodedata.normalize('NFC', name)},{name[-5]}" for name in names]
    (tmp_path / "groups.csv").write_text("\n".join(["file,group", *rows]), encoding="utf-8")
    task = task_of(tmp_path, {"table": str(tmp_path / "groups.csv")})
    assert task.groups(task.samples()) == ("0", "1")


class TestFolder:
    @pytest.mark.parametrize(("layout", "good"), [("mvtec", "train/good/"), ("folder", "")])
    def test_sub_folders_are_groups(self, tmp_path, layout, good):
        names = [f"{good}{name}.png" for name in ("b/0", "a/1", "a/0")]
        touch(tmp_path / "nut", *names, f"{good}.hidden/0.png")
        (tmp_path / "nut" / good / "empty").mkdir()
        task = task_of(tmp_path, "folder", layout=layout)
        product = task.images()
        assert [path.relative_to(tmp_path / "nut").as_posix() for path in product.train] == [
            f"{good}{name}.png" for name in ("a/0", "a/1", "b/0")
        ]
        assert task.groups(product) == ("a", "a", "b")

    @pytest.mark.parametrize("group", [None, {"pattern": r"\d"}])
    def test_no_other_task_leaves_sub_folders_out_in_silence(self, place, group):
        touch(place / "nut", "train/good/a/0.png", "train/good/b/0.png", "train/good/b/1.png")
        (place / "nut/train/good/empty").mkdir()
        with pytest.raises(DatasetError) as caught:
            task_of(place, group).images()
        said = str(caught.value)
        assert "train/good/a and 1 more hold 3 images that would be left out; write `group:" in said
        assert f"move the images into {place}/nut/train/good, or" in said

    def test_an_image_lies_outside(self, place):
        touch(place / "nut", "train/good/a/0.png", "train/good/b/0.png")
        said = refused(place, "folder")
        assert "train/good/1_a.png (and 3 more) lies in no sub-folder" in said

    def test_one_folder_alone(self, tmp_path):
        touch(tmp_path / "nut", "train/good/a/0.png", "train/good/a/1.png")
        assert "into one group, 'a'" in refused(tmp_path, "folder")

    @pytest.mark.parametrize("lost", ["train/good/a/deep/0.png", "test/good/a/0.png"])
    def test_no_image_is_passed_over_in_silence(self, tmp_path, lost):
        touch(tmp_path / "nut", "train/good/a/0.png", "train/good/b/0.png", lost)
        with pytest.raises(DatasetError, match=f"{Path(lost).parent} holds 1 image that would be"):
            task_of(tmp_path, "folder").samples()

    def test_no_images_at_all(self, tmp_path):
        (tmp_path / "nut/train/good/a").mkdir(parents=True)
        with pytest.raises(DatasetError, match="holds no images; put the images of good parts"):
            task_of(tmp_path, "folder").samples()

    def test_layouts_that_have_no_such_folders(self, place):
        with pytest.raises(DatasetError, match="sub-folders of groups go with the layouts mvtec"):
            read_product(place / "nut", "rgbd", by_folder=True)


FORMS = r"use `folder`, {pattern: \.\.\.} or {table: \.\.\.}"


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("folders", rf"'folders' is no rule for groups, {FORMS}"),
        (True, rf"True is no rule for groups, {FORMS}"),
        (["folder"], r"\['folder'\] is no rule for groups"),
        ({}, rf"it says no rule for groups, {FORMS}"),
        ({"file_column": "image"}, "it says no rule for groups"),
        ({"pattern": "("}, r"'\(' is no regular expression \(missing \)"),
        ({"pattern": "a{99999999999}"}, "is no regular expression"),
        ({"pattern": ""}, "pattern: String should have at least 1 character"),
        ({"pattern": 7}, "pattern: Input should be a valid string"),
        ({"table": 7}, "table: Input is not a valid path"),
        ({"table": "a.csv", "group_column": ""}, "group_column: String should have at least 1"),
        ({"pattern": "a", "group_column": "b"}, "group_column names a column, and there is no `ta"),
        ({"pattern": "a", "folder": True}, "it says two rules for groups"),
        ({"patern": "a"}, "patern: there is no such key"),
    ],
)
def test_what_is_no_rule_is_one_sentence(place, group, message):
    with pytest.raises(DatasetError, match=rf"tasks\.0\.group.*{message}.*; correct it") as caught:
        stream_of(place, group)
    said = str(caught.value)
    assert said.startswith(f"{place / 'line.json'} is not a valid stream file: ")
    assert "\n" not in said and "Value error" not in said


@pytest.mark.parametrize(
    "task", [{"layout": "rgbd"}, {"views": 2}, {"labelled": {}}, {"layout": "visa"}]
)
def test_folder_goes_with_layouts_that_have_them(place, task):
    with pytest.raises(
        DatasetError, match="`group: folder` goes with the layouts mvtec and folder"
    ):
        stream_of(place, "folder", **task)


@pytest.mark.parametrize(
    "group", ["folder", {"pattern": "a"}, {"table": "a.csv", "group_column": "b", "pattern": "c"}]
)
def test_a_rule_is_written_as_it_was_read(group):
    rule = GroupRule.model_validate(group)
    written = rule.model_dump(mode="json")
    assert written == ({"folder": True} if group == "folder" else group)
    assert GroupRule.model_validate(written) == rule


@pytest.mark.parametrize(
    ("groups", "needed_rate", "supported"), [(None, 0.05, True), (8, 0.05, False), (8, 0.2, True)]
)
def test_the_number_of_groups_decides_which_rate_is_supported(groups, needed_rate, supported):
    scores = [float(number) for number in range(40)]
    calibration = Calibration(scheme="cross", folds=5, scores=scores, map_peaks=[], groups=groups)
    decision = decide(calibration, needed_rate)
    assert (decision.images, decision.groups) == (40, groups)
    assert decision.supported is supported


def test_windows_of_one_photograph_are_a_group(open_data):
    """The open category whose windows were cut from eight photographs."""
    path = open_data / "rgbd" / "asphalt_b"
    rule = GroupRule(table=path / "SOURCES.csv", group_column="source", pattern="^[^@]+")
    task = StreamTask(name="asphalt_b", path=path, layout="rgbd", group=rule)
    product = task.images()
    named = task.groups(product)
    assert len(named) == len(product.train) == 40
    assert len(set(named)) == 8 and named[0] == "dataset2/*/01.png"
