"""Several processes learn what one does: anchors, gradients and key scores are added up."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.learn import learn
from tests.training.cl_anomaly_samples import QUICK, a_request
from tests.training.tiny_llava import save_tiny_llava

ROOT = Path(__file__).resolve().parents[2]
# Dropout draws other numbers in every process.
CONFIG = Config(**QUICK | {"epochs": 1, "dropout": 0.0, "checkpoint_steps": 2})


def learn_in(source: Path, folder: Path, number: str) -> dict[str, np.ndarray]:
    learned = learn(a_request(load_llava(str(source)), folder / "work"), CONFIG)
    found = learned.tensors | learned.shared_weights
    save_file({name: np.ascontiguousarray(found[name]) for name in found}, folder / number)
    return found


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path):
    source = save_tiny_llava(tmp_path / "tiny-llava")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    alone = learn_in(source, tmp_path / "one", "0")
    shared = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "training")),
        "ACCELERATE_USE_CPU": "true",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }
    call = [sys.executable, __file__, str(source), str(tmp_path / "two")]
    running = [
        subprocess.Popen([*call, number], env=shared | {"RANK": number, "LOCAL_RANK": number})
        for number in ("0", "1")
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    first, second = (load_file(tmp_path / "two" / number) for number in ("0", "1"))
    for name, value in alone.items():
        assert np.array_equal(first[name], second[name]), name
        np.testing.assert_allclose(first[name].reshape(value.shape), value, atol=1e-3, err_msg=name)
    np.testing.assert_allclose(first["anchor_sum"], alone["anchor_sum"], rtol=1e-12)
    assert (tmp_path / "two" / "work" / "checkpoint.json").exists()


if __name__ == "__main__":
    learn_in(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
