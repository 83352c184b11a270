"""The stream of the open categories."""

import pytest

from cad_edge.calibration import images_needed
from cad_edge.data.stream import read_stream
from cad_edge.errors import DatasetError, OptionError
from cad_edge_benchmarks.instruments.open_data import (
    FALSE_REJECT_RATE,
    categories,
    data_folder,
    write_stream,
)


@pytest.fixture
def data(tmp_path):
    for good in ("surfaces/tile/train/good", "products/nut/train/good", "rgbd/road/train/good/rgb"):
        (tmp_path / "data" / good).mkdir(parents=True)
    return tmp_path / "data"


def test_categories_come_in_alphabetical_order(data, tmp_path):
    stream_file = tmp_path / "stream.json"
    assert write_stream(stream_file, data) == ["nut", "road", "tile"]
    stream = read_stream(stream_file)
    assert [task.layout for task in stream.tasks] == ["mvtec", "rgbd", "mvtec"]
    assert stream.tasks[1].path == (data / "rgbd" / "road").resolve()


def test_some_categories_can_be_chosen(data, tmp_path):
    assert write_stream(tmp_path / "s.json", data, ["tile", "nut"]) == ["nut", "tile"]
    with pytest.raises(OptionError, match="bolt is not a category"):
        write_stream(tmp_path / "s.json", data, ["bolt"])


def test_windows_of_one_photograph_are_grouped(tmp_path):
    for name in ("fabric_a", "asphalt_b", "pcb"):
        for number in range(4):
            path = tmp_path / "data/open" / name / f"train/good/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if name != "asphalt_b":
            lines = [f"train/good/{number}.png,photo{number // 2}@{number}" for number in range(4)]
            table = tmp_path / "data/open" / name / "SOURCES.csv"
            table.write_text("\n".join(["file,source", *lines]))
    write_stream(tmp_path / "stream.json", tmp_path / "data")
    tasks = {task.name: task for task in read_stream(tmp_path / "stream.json").tasks}
    assert tasks["asphalt_b"].group is None and tasks["pcb"].group is None
    fabric = tasks["fabric_a"]
    assert fabric.groups(fabric.images()) == ("photo0", "photo0", "photo1", "photo1")


def test_groups_of_the_open_categories(open_data, tmp_path):
    write_stream(tmp_path / "stream.json", open_data)
    found = {
        task.name: len(set(task.groups(task.images())))
        for task in read_stream(tmp_path / "stream.json").tasks
        if task.group is not None
    }
    assert found == {"asphalt_b": 8, "fabric_a": 13}


def test_two_categories_of_one_name_are_refused(data):
    (data / "products" / "tile" / "train" / "good").mkdir(parents=True)
    with pytest.raises(DatasetError, match="two products named tile"):
        categories(data)


def test_a_missing_folder_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CAD_EDGE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="CAD_EDGE_DATA"):
        data_folder()


def test_the_stated_rate_is_supported_by_the_smallest_category():
    assert images_needed(FALSE_REJECT_RATE) <= 31
