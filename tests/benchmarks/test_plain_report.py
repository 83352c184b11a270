"""The JSON of an earlier run is read as a plain file."""

import os

import pytest

from cad_edge.errors import OptionError
from cad_edge_benchmarks.benchmark.comparison import read_previous_report
from tests.base.not_files import NOT_FILES, within


@pytest.mark.parametrize("kind", sorted(NOT_FILES))
def test_whatever_stands_in_its_place_is_refused(tmp_path, kind):
    NOT_FILES[kind](tmp_path / "benchmark.json")
    with (
        within(60),
        pytest.raises(OptionError, match=r"benchmark\.json cannot be read: ") as caught,
    ):
        read_previous_report(tmp_path / "benchmark.json")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "benchmark.json").touch()
    os.truncate(tmp_path / "benchmark.json", 1 << 33)
    with pytest.raises(OptionError, match="and at most 67,108,864 belong there"):
        read_previous_report(tmp_path / "benchmark.json")
