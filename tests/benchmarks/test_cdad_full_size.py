"""The full size of CDAD, measured at a tiny one."""

import onnx
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from cad_edge_studies.cdad_full_size.__main__ import measure, size_table, size_targets
from tests.training.tiny_stable_diffusion import SIDE, UNET, VAE

SCORER = {"embedding_size": 8, "hidden_sizes": [16, 16, 24, 24], "depths": [1, 1, 1, 1]}


@pytest.mark.slow
def test_the_full_size_is_measured_at_a_tiny_one(tmp_path):
    # Eight heads and 320 channels are AMN's; 32 are divided by eight as well.
    found = measure(tmp_path, {"unet": UNET, "vae": VAE, "scorer": SCORER}, SIDE, 1)
    names = ["encoder", "condition", "unet", "judge"]
    assert list(found["graphs"]) == names
    for name, one in found["graphs"].items():
        onnx.checker.check_model(onnx.load(tmp_path / "graphs" / name / "graph.onnx"))
        assert one["bytes"] == {"graph.onnx": one["bytes"]["graph.onnx"]}
        assert 0 < one["difference"] < 1e-4 or name == "encoder"
    memory, difference = size_targets(found)
    assert memory.reached and difference.reached and memory.value > 0.1
    assert [line.split()[0] for line in size_table(found).splitlines()[-4:]] == names


def test_what_must_be_reached():
    graphs = {"unet": {"difference": 2e-4}, "judge": {"difference": 1e-5}}
    found = {"graphs": graphs, "peak_bytes": 17 * 2**30}
    memory, difference = size_targets(found)
    assert (memory.value, memory.reached) == (17, False)
    assert (difference.value, difference.reached) == (2e-4, False)
