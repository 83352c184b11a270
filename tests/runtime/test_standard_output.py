"""Standard output that takes nothing: no command succeeds whose results are nowhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.house.refusals import content

pytestmark = [
    pytest.mark.torchless,
    pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell closes it"),
]

PROGRAM = "from cad_edge.cli import main; main()"
CLOSED = (
    "Error: standard output is closed, so that results would be lost; redirect it to a file, or to "
    "/dev/null\n"
)


@pytest.fixture
def picture(tmp_path, frames) -> Path:
    Image.fromarray(frames["red.bad"][0]).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def start(
    redirected: str, *words: object, unbuffered: str = "", output: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Start the program from a shell, which redirects its standard output."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirected}', "sh", sys.executable, "-c", PROGRAM, *map(str, words)],
        env={**os.environ, **paths},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def words_of(name: str, bundle: Path, picture: Path) -> list[object]:
    """Words of a command that prints results, or of what is printed without a command."""
    return {
        "detect": ["detect", bundle, picture],
        "tasks": ["tasks", bundle],
        "verify": ["verify", bundle],
        "evaluate": ["evaluate", bundle, "--stream", picture],
        "help": ["--help"],
        "help of a command": ["tasks", "--help"],
    }[name]


@pytest.mark.parametrize("name", ["detect", "tasks", "verify", "evaluate", "help"])
def test_a_closed_one_is_refused(bundle, picture, name):
    done = start(">&-", *words_of(name, bundle, picture))
    assert (done.returncode, done.stderr) == (1, CLOSED)


def test_nothing_is_done_for_a_closed_one(bundle):
    """Results of a command that changes something are what it has changed, and what it says."""
    before = content(bundle)
    words = ["threshold", bundle, "--task", "red", "--false-reject-rate", "0.2"]
    assert start(">&-", *words).returncode == 1
    assert content(bundle) == before
    assert start("", *words).returncode == 0 and content(bundle) != before


@pytest.mark.parametrize(
    ("name", "unbuffered"),
    [("detect", ""), ("tasks", ""), ("tasks", "1"), ("help", ""), ("help of a command", "")],
)
def test_a_full_one_is_one_sentence(bundle, picture, name, unbuffered):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = start(">/dev/full", *words_of(name, bundle, picture), unbuffered=unbuffered)
    said = "Error: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_one_that_was_opened_for_reading_is_one_sentence(bundle):
    done = start("</dev/null 1<&0", "tasks", bundle)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: standard output: Bad file descriptor\n",
    )


def test_all_arrives_in_a_file(bundle, picture, tmp_path):
    done = start(f'>"{tmp_path}/said"', "detect", bundle, *[picture] * 3)
    assert done.returncode == 0 and done.stdout == ""
    lines = (tmp_path / "said").read_text().splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == ["anomalous"] * 3


def test_a_reader_that_has_gone_is_no_error(bundle):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = start("", "tasks", bundle, output=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
