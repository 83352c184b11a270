"""`cad-edge detect` on folders: each image once, and nothing passed over without a word."""

import json
import os
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge import cli
from cad_edge.data.folder import HEATMAP_MARK
from cad_edge.errors import DatasetError
from cad_edge_runtime.listing import ImageFile, with_depth

pytestmark = pytest.mark.torchless

NOBODY = 65534


@pytest.fixture
def run(bundle):
    """Call `detect` with the golden bundle."""
    runner = CliRunner()
    return lambda *paths: runner.invoke(cli.main, ["detect", str(bundle), *map(str, paths)])


@pytest.fixture
def put(tmp_path, frames):
    """Write images of a good part below a folder."""

    def write(folder: str, *names: str) -> Path:
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frames["red.good"][0]).save(path)
        return tmp_path / folder

    return write


def inspected(result, folder: Path) -> list[str]:
    """Paths of the records below a folder."""
    records = [json.loads(line) for line in result.stdout.splitlines()]
    return [Path(record["path"]).relative_to(folder).as_posix() for record in records]


def test_linked_folders_are_followed(run, put, tmp_path):
    folder = put("in", "cam1/a.png")
    (folder / "cam2").symlink_to(put("elsewhere", "b.png", "deep/c.png"))
    result = run(folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert inspected(result, folder) == ["cam1/a.png", "cam2/b.png", "cam2/deep/c.png"]


def test_every_folder_is_inspected_once(run, put, tmp_path):
    """Links to itself, to what holds it, and twice to one folder; real names go first."""
    folder = put("in", "b/1.png", "z/2.png")
    put("", "beside.png")
    for name, target in (("b/up", folder), ("parent", tmp_path), ("a", folder / "z")):
        (folder / name).symlink_to(target)
    far = put("far", "3.png")
    for name in ("x", "y"):
        (folder / name).symlink_to(far)
    result = run(folder)
    assert result.exit_code == 0
    assert inspected(result, folder) == ["b/1.png", "x/3.png", "z/2.png"]


def test_hidden_files_are_passed_over(run, put, tmp_path):
    folder = put("in", "a.png", ".thumbs/t.png", "@eaDir/e.png", "__MACOSX/m.png", "sub/.x/y.png")
    (folder / "._a.png").write_bytes(bytes(4096))
    (folder / ".DS_Store").write_bytes(b"x")
    result = run(folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert inspected(result, folder) == ["a.png"]


def test_a_link_to_nothing_is_named_and_the_others_are_inspected(run, put):
    folder = put("in", "cam1/a.png")
    (folder / "cam2").symlink_to("unmounted")
    result = run(folder)
    assert result.exit_code == 1 and inspected(result, folder) == ["cam1/a.png"]
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: the link {folder / 'cam2'} leads nowhere (No such file")


def test_a_pipe_is_named_and_not_waited_for(run, put):
    folder = put("in", "a.png")
    os.mkfifo(folder / "b.png")
    result = run(folder)
    assert result.exit_code == 1 and inspected(result, folder) == ["a.png"]
    assert "b.png is a pipe, a socket or a device" in result.stderr


def test_pictures_of_other_formats_are_named(run, put):
    folder = put("in", "a.png")
    (folder / "b.heic").write_bytes(b"picture")
    (folder / "notes.txt").write_bytes(b"none")
    result = run(folder)
    assert result.exit_code == 1 and inspected(result, folder) == ["a.png"]
    (line,) = result.stderr.splitlines()
    assert f"{folder} holds 1 image in a format that is not read (.heic; for" in line


def test_masks_and_depth_beside_images_are_no_frames(run, put):
    folder = put("in", "test/cut/0.png", "ground_truth/cut/0_mask.png", "depth/1.png")
    put("in/test/cut", "rgb/2.png", "depth/2.png", "gt/2.png", "xyz/2.tiff")
    put("in/visa", "Images/3.png", "Masks/3.png")
    found = inspected(run(folder), folder)
    assert found == ["depth/1.png", "test/cut/0.png", "test/cut/rgb/2.png", "visa/Images/3.png"]
    assert inspected(run(folder / "ground_truth"), folder) == ["ground_truth/cut/0_mask.png"]


@pytest.fixture
def public(bundle, frames):
    """A place that other users of the machine can read, unlike pytest's own."""
    import shutil

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        shutil.copytree(bundle, place / "bundle")
        for folder in ("cam1", "cam2"):
            (place / "in" / folder).mkdir(parents=True)
            Image.fromarray(frames["red.good"][0]).save(place / "in" / folder / "a.png")
        (place / "in/cam2").chmod(0)
        yield place
        (place / "in/cam2").chmod(0o755)


def test_an_unreadable_folder_is_named_and_the_others_are_inspected(public):
    runner = CliRunner()
    runner.invoke(cli.main, ["detect", str(public / "bundle"), str(public / "in/cam1")])  # imports
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(NOBODY)
    try:
        result = runner.invoke(cli.main, ["detect", str(public / "bundle"), str(public / "in")])
    finally:
        if privileged:
            os.seteuid(0)
    assert result.exit_code == 1 and inspected(result, public / "in") == ["cam1/a.png"]
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {public / 'in/cam2'} cannot be read: Permission denied;")


class TestHeatMaps:
    def test_they_are_not_inspected_by_the_next_run(self, run, put):
        folder = put("in", "a.png", "sub/b.png")
        for options in ((), (), ("--heatmaps", folder / "other")):
            result = run(folder, "--task", "red", "--heatmaps", folder / "maps", *options)
            assert result.exit_code == 0
            assert inspected(result, folder) == ["a.png", "sub/b.png"]
        assert inspected(run(folder), folder) == ["a.png", "sub/b.png"]
        assert (folder / "maps/sub/b.png").is_file()

    def test_their_folder_is_no_folder_of_images(self, run, put):
        folder = put("in", "a.png")
        run(folder, "--task", "red", "--heatmaps", folder / "maps")
        result = run(folder / "maps")
        assert result.exit_code == 1 and "holds heat maps that cad-edge detect" in result.stderr

    @pytest.mark.parametrize("place", ["in", "in/../in", "link", "."])
    def test_they_replace_no_image(self, run, put, tmp_path, place, monkeypatch):
        folder = put("in", "a.png", "sub/b.png")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link").symlink_to(folder)
        before = (folder / "a.png").read_bytes()
        for what in (folder, folder / "sub", folder / "a.png"):
            result = run(what, "--task", "red", "--heatmaps", place)
            assert result.exit_code == 1 and result.stdout == ""
            assert f"--heatmaps {place} holds {what}, which is inspected" in result.stderr
        assert (folder / "a.png").read_bytes() == before
        assert not (folder / HEATMAP_MARK).exists()

    def test_a_folder_of_other_images_is_refused(self, run, put):
        folder, mine = put("in", "a.png"), put("mine", "deep/holiday.png")
        result = run(folder, "--task", "red", "--heatmaps", mine)
        assert result.exit_code == 1 and result.stdout == ""
        assert f"holds images that are no heat maps, for example {mine}/deep/holid" in result.stderr
        (mine / HEATMAP_MARK).touch()
        assert run(folder, "--task", "red", "--heatmaps", mine).exit_code == 0

    @pytest.mark.parametrize("letter", ["b", "ü"])
    def test_long_names_are_cut_and_stay_apart(self, run, put, tmp_path, letter):
        most = 251 // len(letter.encode())
        folder = put("in", "a.png", f"{letter * most}.png", f"x/{letter * most}.bmp")
        result = run(folder, folder / "x", "--task", "red", "--heatmaps", tmp_path / "maps")
        assert (result.exit_code, result.stderr) == (0, "")
        maps = [json.loads(line)["heatmap"] for line in result.stdout.splitlines()]
        assert len(maps) == 4 == len(set(maps))
        assert all(np.asarray(Image.open(one)).shape == (32, 32, 3) for one in maps)
        assert not list((tmp_path / "maps").rglob("*.tmp"))

    def test_the_verdict_stands_without_its_heat_map(self, run, put, tmp_path):
        folder = put("in", "a.png", "b.png")
        (tmp_path / "maps/a.png").mkdir(parents=True)
        result = run(folder, "--task", "red", "--heatmaps", tmp_path / "maps")
        assert result.exit_code == 1 and "a.png cannot be written: Is a directory" in result.stderr
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert [record["heatmap"] is None for record in records] == [True, False]
        assert {record["task"] for record in records} == {"red"}


def test_names_that_are_not_utf8(run, tmp_path, frames):
    (tmp_path / "in").mkdir()
    name = os.fsencode(tmp_path / "in") + b"/\xff.png"
    with open(name, "wb") as file:  # noqa: PTH123 - bytes
        Image.fromarray(frames["red.good"][0]).save(file, "PNG")
    result = run(tmp_path / "in", "--task", "red", "--heatmaps", tmp_path / "maps")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert os.fsencode(record["path"]) == name
    assert os.path.isfile(record["heatmap"])  # noqa: PTH113


def test_depth_is_found_by_either_way_of_writing_letters(tmp_path):
    composed, taken_apart = (unicodedata.normalize(form, "stück") for form in ("NFC", "NFD"))
    (tmp_path / "depth").mkdir()
    (tmp_path / f"depth/{composed}.tiff").touch()
    image = ImageFile(Path(f"{taken_apart}.png"), Path("a.png"), ())
    (found,) = with_depth([image], tmp_path / "depth")
    assert found.depth == tmp_path / f"depth/{composed}.tiff"
    (tmp_path / "depth/more").mkdir()
    (tmp_path / "depth/more/b.tiff").touch()
    with pytest.raises(DatasetError, match="more holds 1 image that would be left out"):
        with_depth([image], tmp_path / "depth")


def test_paths_too_long_for_the_system_are_named(run, put):
    folder = put("in", "a.png")
    result = run("x" * 300, folder)
    assert result.exit_code == 1 and inspected(result, folder) == ["a.png"]
    assert len(result.stderr.splitlines()) == 1
