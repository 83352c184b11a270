"""`cad-edge train` in two processes: one writes and prints, and neither stays when one ends."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cad_edge.data.stream import read_stream
from cad_edge.store.artifact import list_artifacts, read_artifact
from cad_edge_training.train import TrainingPlan, train
from tests.house.refusals import content
from tests.training.small_products import NAMES, quiet, write_product
from tests.training.tiny_llava import save_tiny_llava

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "training", "export", "runtime", "benchmarks")
COMMAND = "from cad_edge.cli import main; main()"
SETTINGS = ("epochs=1", "batch=4", "learning_rate=0.001", "dropout=0", "checkpoint_steps=2")
SECONDS = 300  # a process that waits for one that has ended is an error, not a delay


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A tiny base model, two products and their stream."""
    folder = tmp_path_factory.mktemp("line")
    save_tiny_llava(folder / "tiny-llava")
    for name in NAMES[:2]:
        write_product(folder, name, good=8, test=4)
    tasks = [{"name": name, "path": name, "labelled": {"test_share": 0.2}} for name in NAMES[:2]]
    stream = {"name": "small", "false_reject_rate": 0.2, "tasks": tasks}
    (folder / "stream.json").write_text(json.dumps(stream))
    return folder


def words(place: Path, out: Path, settings: tuple[str, ...] = SETTINGS) -> list[str]:
    """Arguments of the command."""
    chosen = [word for setting in settings for word in ("--set", setting)]
    source = f"llava:{place / 'tiny-llava'}"
    given = ("--method", "cl_anomaly", "--backbone", source, "--stream", place / "stream.json")
    return ["train", *map(str, given), "--out", str(out), *chosen]


def in_two(first: list[str], second: list[str]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of two processes on the CPU, as torchrun starts them."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    shared = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in FOLDERS),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "CUDA_VISIBLE_DEVICES": "",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            env=shared | {"RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, arguments in enumerate((first, second))
    ]
    try:
        said = [process.communicate(timeout=SECONDS) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return [(process.returncode, *both) for process, both in zip(running, said, strict=True)]


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("Error: ")]


@pytest.mark.slow
def test_two_processes_write_what_one_does(place, tmp_path):
    options = dict(setting.split("=") for setting in SETTINGS)
    plan = TrainingPlan("cl_anomaly", f"llava:{place / 'tiny-llava'}", None, options, 0)
    train(read_stream(place / "stream.json"), tmp_path / "one", plan, lambda name: quiet)
    two = words(place, tmp_path / "two")
    leading, other = in_two(two, two)
    said = ": learned from 11 good parts, 4 of which set the threshold alone\n"
    whole = f"{NAMES[0]}{said}{NAMES[1]}{said}learned 2 tasks into {tmp_path / 'two'}\n"
    assert leading[:2] == (0, whole), leading[2]
    assert other[:2] == (0, ""), other[2]
    assert NAMES[0] in leading[2] and NAMES[0] not in other[2]
    assert content(tmp_path / "one").keys() == content(tmp_path / "two").keys()
    pairs = zip(list_artifacts(tmp_path / "one"), list_artifacts(tmp_path / "two"), strict=True)
    for number, (one, both) in enumerate(pairs):
        before, found = read_artifact(one), read_artifact(both)
        assert found.artifact.position == before.artifact.position == number
        assert found.shared_weights["stage"].item() == number + 1
        for part in ("tensors", "shared_weights", "routing", "witness"):
            expected, got = getattr(before, part), getattr(found, part)
            assert expected.keys() == got.keys()
            for name, value in expected.items():
                assert value.dtype == got[name].dtype, name
                # Adam makes a step of its own size out of a gradient that is next to nothing.
                np.testing.assert_allclose(got[name], value, atol=5e-3, rtol=1e-3, err_msg=name)


@pytest.mark.slow
def test_one_that_ends_ends_the_other(place, tmp_path):
    """The second process alone cannot begin, and then the first alone cannot write."""
    right = words(place, tmp_path / "out")
    wrong = words(place, tmp_path / "out", (*SETTINGS, f"adapter={tmp_path / 'nowhere'}"))
    leading, other = in_two(right, wrong)
    assert (leading[0], other[0]) == (1, 1)
    (said,) = errors(other[2])
    assert "nowhere is no adapter" in said
    (said,) = errors(leading[2])
    assert "another process of this training has ended" in said and "Traceback" not in leading[2]
    assert not list_artifacts(tmp_path / "out")
