"""Artifacts with one flipped bit, anywhere in them: refused, by the name of the file."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import read_artifact

pytest.importorskip("torch")

COMMAND = [sys.executable, "-c", "from cad_edge.cli import main; main()"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    """What `cad-edge train` leaves of a product of texture."""
    from tests.training.small_products import NAMES, SMALL, learn, write_stream

    folder = tmp_path_factory.mktemp("flipped")
    learn(write_stream(folder, NAMES[:1]), folder / "artifacts", SMALL)
    return folder / "artifacts" / NAMES[0]


def flip(path: Path, rng: np.random.Generator) -> bytes:
    """Flip one bit of a file; return the bytes that it had."""
    data = path.read_bytes()
    changed = bytearray(data)
    bit = int(rng.integers(8 * len(data)))
    changed[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(changed)
    return data


def test_flipped_bits_are_refused_by_name(artifact, campaign, campaign_seed, record):
    rng = np.random.default_rng(campaign_seed)
    files = sorted(artifact.iterdir())
    assert len(files) == 4
    before, named, passed = read_artifact(artifact).sha256, 0, []
    tried = dict.fromkeys((path.name for path in files), 0)
    for number in range(campaign["flipped_artifacts"]):
        path = files[number % len(files)]  # by bytes, artifact.json would hardly ever be drawn
        data = flip(path, rng)
        tried[path.name] += 1
        try:
            read_artifact(artifact)
            passed.append(path.name)
        except ArtifactError as problem:
            named += str(path) in str(problem) and len(str(problem)) < 600
        path.write_bytes(data)
    count = campaign["flipped_artifacts"]
    record(
        "flipped_artifacts",
        {"seed": campaign_seed, "flipped": count, "refused_by_name": named, "files": tried},
    )
    assert (passed, named) == ([], count)
    assert read_artifact(artifact).sha256 == before


def test_the_command_refuses_them(artifact, campaign, campaign_seed, tmp_path):
    rng = np.random.default_rng(campaign_seed + 1)
    names = sorted(path.name for path in artifact.iterdir())
    for number in range(campaign["flipped_artifacts"] // 20):
        copy = tmp_path / str(number) / artifact.name
        shutil.copytree(artifact, copy)
        path = copy / names[number % len(names)]
        flip(path, rng)
        arguments = ["export", copy.parent, "--bundle", tmp_path / "bundle"]
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        assert done.returncode == 1 and len(said) == 1 and str(path) in said[0], done.stderr
        assert not (tmp_path / "bundle").exists()
