"""Folders of CLIP and SAM of another kind, or with weights that do not fit their configuration."""

import json
import shutil

import pytest

from cad_edge.errors import OptionError
from cad_edge_training.backbones.clip import load_clip
from cad_edge_training.methods.cmpmb.regions import load_regions
from tests.training.test_regions import save_sam
from tests.training.tiny_models import save_clip, save_dinov2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return {
        "clip": save_clip(place / "clip"),
        "sam": save_sam(place / "sam"),
        "dinov2": save_dinov2(place / "dinov2"),
    }


def load(kind, folder):
    return load_clip(str(folder)) if kind == "clip" else load_regions(f"sam:{folder}")


def reshaped(folder, to, part, change):
    """Copy a model and write another shape into its configuration; the weights stay."""
    shutil.copytree(folder, to)
    path = to / "config.json"
    config = json.loads(path.read_text())
    config[part] |= change
    path.write_text(json.dumps(config))
    return to


@pytest.mark.parametrize(
    ("kind", "part", "change", "said"),
    [
        ("clip", "vision_config", {"hidden_size": 128}, r"class_embedding is \(64,\) and its con"),
        ("clip", "vision_config", {"patch_size": 4}, r"is \(64, 3, 8, 8\) and .* \(64, 3, 4, 4\)"),
        ("clip", "vision_config", {"num_hidden_layers": 3}, r"no layer for .*layers\.3\."),
        ("clip", "text_config", {"hidden_size": 64}, r"is \(16, 32\) and .* \(16, 64\)"),
        ("sam", "vision_config", {"hidden_size": 128}, r"is \(16,\) and its config.json says"),
        ("sam", "vision_config", {"patch_size": 4}, r"rel_pos_h is \(7, 8\) and .* \(31, 8\)"),
        ("sam", "vision_config", {"num_hidden_layers": 0}, r"no layer for .*layers\.0\."),
        ("sam", "mask_decoder_config", {"hidden_size": 16}, r"is \(8, 8\) and .* \(8, 16\)"),
    ],
)
def test_weights_of_another_architecture(folders, tmp_path, capfd, kind, part, change, said):
    folder = reshaped(folders[kind], tmp_path / "odd", part, change)
    with pytest.raises(OptionError, match=f"odd holds weights of another architecture: .*{said}"):
        load(kind, folder)
    shown = "".join(capfd.readouterr())
    assert "LOAD REPORT" not in shown and "MISMATCH" not in shown


@pytest.mark.parametrize("kind", ["clip", "sam"])
def test_a_deeper_configuration_lacks_weights(folders, tmp_path, kind):
    deeper = {"num_hidden_layers": 12}
    folder = reshaped(folders[kind], tmp_path / "odd", "vision_config", deeper)
    with pytest.raises(OptionError, match=r"odd lacks the weights .*layers\..*; get it again"):
        load(kind, folder)


@pytest.mark.parametrize(
    ("kind", "other"), [("clip", "sam"), ("clip", "dinov2"), ("sam", "clip"), ("sam", "dinov2")]
)
def test_a_folder_of_another_kind(folders, kind, other):
    said = f"holds a {other} model; give one of type {kind}"
    with pytest.raises(OptionError, match=said):
        load(kind, folders[other])
