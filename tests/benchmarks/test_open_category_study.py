"""What the studies of the open categories share: their command line and learned streams."""

import pytest
from click.testing import CliRunner

from cad_edge.data.grouping import GroupRule
from cad_edge.data.stream import Stream, StreamTask, read_stream
from cad_edge.errors import OptionError
from cad_edge_studies import learned_stream
from cad_edge_studies.open_category_study import made_with, study


def test_a_study_has_the_options_of_all_and_its_own_result(tmp_path):
    asked = []

    @study("sizes", tmp_path / "sizes.json")
    def main(data, out, tasks, threads):
        asked.append((data, out, tasks, threads))

    assert CliRunner().invoke(main, []).exit_code == 0
    words = ["--task", "a", "--task", "b", "--threads", "3", "--data", ".", "--out", "o.json"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert asked[0] == (None, tmp_path / "sizes.json", (), 2)
    assert (str(asked[1][1]), *asked[1][2:]) == ("o.json", ("a", "b"), 3)


def test_what_a_user_can_act_on_is_one_sentence(tmp_path):
    @study("sizes", tmp_path / "sizes.json")
    def main(data, out, tasks, threads):
        raise OptionError("nut is not a category; use bolt")

    done = CliRunner().invoke(main, [])
    assert (done.exit_code, done.output) == (1, "Error: nut is not a category; use bolt\n")


def test_threads_are_stated_between_machine_and_versions():
    assert [*made_with()] == ["commit", "machine", "versions"]
    assert [*made_with(2)] == ["commit", "machine", "threads", "versions"]


@pytest.mark.parametrize("group", [None, GroupRule(pattern="^[^@]+")])
def test_the_stream_that_is_learned_is_the_one_given(tmp_path, monkeypatch, group):
    (tmp_path / "road").mkdir()
    task = StreamTask(name="road", path=tmp_path / "road", layout="rgbd", group=group)
    stream = Stream(name="line", false_reject_rate=0.05, tasks=[task])
    learned = []
    monkeypatch.setattr(
        learned_stream, "learn", lambda file, artifacts, *_: learned.append(read_stream(file))
    )
    monkeypatch.setattr(learned_stream, "list_artifacts", lambda folder: [folder / "road"])
    found = learned_stream.learn_stream(stream, tmp_path / "place", 0, [], threads=1)
    assert learned == [stream] == [found.stream]
    assert found.artifacts == [tmp_path / "place" / "artifacts" / "road"]
