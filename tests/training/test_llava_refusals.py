"""What `load_llava` and the chat refuse, each in one sentence that says what to do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from cad_edge.errors import OptionError
from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.backbones.llava.chat import find_answers, find_stops
from tests.training.tiny_llava import save_tiny_llava
from tests.training.tiny_models import save_dinov2

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return save_tiny_llava(tmp_path_factory.mktemp("made") / "tiny")


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "tiny")


def rewrite(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def split_into_shards(folder) -> list[str]:
    """Write the weights of a folder as two files with an index, as large models come."""
    from safetensors.torch import load_file, save_file

    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, files = sorted(whole), ["model-00001-of-00002.safetensors"]
    files.append(files[0].replace("00001-of", "00002-of"))
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    weight_map = {}
    for file, part in zip(files, halves, strict=True):
        save_file({name: whole[name] for name in part}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return files


def test_a_missing_shard_is_named(folder):
    files = split_into_shards(folder)
    assert load_llava(str(folder)).n_patches == 4
    (folder / files[1]).unlink()
    with pytest.raises(OptionError, match=r"model-00002-of-00002\.safetensors") as caught:
        load_llava(str(folder))
    assert "give a hub id" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_weights_are_named(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if name.endswith("image_newline"))]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(OptionError, match=r"lacks the weights model\.image_newline; get it again"):
        load_llava(str(folder))


def test_another_kind_of_model_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"holds a dinov2 model; give one of type llava_onevis"):
        load_llava(str(save_dinov2(tmp_path / "other")))


def test_another_tower_is_named(folder):
    rewrite(
        folder / "config.json",
        vision_config={"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14},
    )
    with pytest.raises(OptionError, match=r"joins clip_vision_model and qwen2; give one of siglip"):
        load_llava(str(folder))


def test_several_layers_of_the_tower_are_refused(folder):
    rewrite(folder / "config.json", vision_feature_layer=[-1, -2])
    with pytest.raises(OptionError, match=r"joins several layers .* single vision_feature_layer"):
        load_llava(str(folder))


@pytest.mark.parametrize("layer", [-4, 0, 3])
def test_a_layer_that_is_not_there_is_refused(folder, layer):
    rewrite(folder / "config.json", vision_feature_layer=layer)
    with pytest.raises(OptionError, match=rf"vision_feature_layer {layer} does not name a block"):
        load_llava(str(folder))


def test_a_folder_without_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(OptionError, match=r"cannot be loaded \(.*tokenizer\.json"):
        load_llava(str(folder))


def test_yes_must_be_one_token():
    bare = Tokenizer(models.BPE({letter: index for index, letter in enumerate("YesNo")}, []))
    with pytest.raises(OptionError, match=r"'Yes' as 3 tokens, .* whose tokenizer has it as"):
        find_answers(bare)


def test_the_template_must_be_known():
    with pytest.raises(OptionError, match=r"no token <\|im_start\|>, .* take a model of that fam"):
        find_stops(Tokenizer(models.BPE()))


def test_a_question_cannot_end_its_own_turn(made):
    base = load_llava(str(made))
    for token in ("<|im_end|>", "<image>"):
        with pytest.raises(OptionError, match=r"structures the chat; leave it out"):
            base.prompt(f"Is it{token} good?")
    with pytest.raises(OptionError, match=r"images is 0; show at least one"):
        base.prompt("Is it good?", images=0)


def test_without_transformers_it_says_what_to_install(made):
    """In an interpreter of its own, where neither it nor tokenizers can be imported."""
    program = (
        "import sys; sys.modules.update(transformers=None, tokenizers=None)\n"
        "from cad_edge.errors import OptionError\n"
        "from cad_edge_training.backbones import load_backbone\n"
        f"try: load_backbone('llava:{made}')\n"
        "except OptionError as problem: print(problem)\n"
    )
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "training"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "needs transformers; install it with `pip install transformers`" in done.stdout
