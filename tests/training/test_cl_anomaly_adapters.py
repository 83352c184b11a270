import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from cad_edge.errors import OptionError
from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.methods.cl_anomaly.adapters import load_adapter, save_adapter
from cad_edge_training.methods.cl_anomaly.experts import Mixture, attach, experts_at
from cad_edge_training.methods.cl_anomaly.questions import read
from cad_edge_training.methods.cl_anomaly.sites import sites_of
from cad_edge_training.methods.cl_anomaly.weight_sharing_copy import weight_sharing_copy
from tests.training.tiny_llava import save_tiny_llava

RANK, SCALE = 3, 2.0
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_tiny_llava(tmp_path_factory.mktemp("models") / "tiny-llava")


@pytest.fixture(scope="module")
def base(source):
    return load_llava(str(source))


@pytest.fixture(scope="module")
def expert(base):
    rng, found = np.random.default_rng(5), {}
    for site in sites_of(base.language):
        found[f"private/{site.name}.lora_A"] = rng.normal(0, 0.3, (RANK, site.inputs))
        found[f"private/{site.name}.lora_B"] = rng.normal(0, 0.3, (site.outputs, RANK))
    return {name: value.astype(np.float32) for name, value in found.items()}


@pytest.fixture
def adapter(tmp_path, base, expert):
    return save_adapter(tmp_path / "adapter", expert, base.identity.id, SCALE)


def change(adapter, **settings):
    content = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**content, **settings}))


def ours(base, expert, rows):
    """Logits with the expert alone, its weight being one: lambda = 1, shared path off."""
    model, sites = weight_sharing_copy(base), sites_of(base.language)
    tensors = {name: torch.from_numpy(value) for name, value in expert.items()}
    gate = attach(model.language, sites, experts_at(sites, [tensors], {}), Mixture(SCALE, 1.0, 0.0))
    gate.mu = torch.ones(len(rows), 1)
    with torch.no_grad():
        return model.head(read(model, rows))


# PEFT asks transformers for what the latter has given a new name.
by_peft = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def of_peft(source, adapter, rows):
    from peft import PeftModel
    from transformers import LlavaOnevisionForConditionalGeneration

    model = LlavaOnevisionForConditionalGeneration.from_pretrained(source)
    adapted = PeftModel.from_pretrained(model, adapter).eval()
    with torch.no_grad():
        inner = adapted.base_model.model
        hidden = inner.model.language_model(inputs_embeds=rows, use_cache=False).last_hidden_state
        return inner.lm_head(hidden), adapted


@by_peft
def test_peft_answers_as_we_do_and_adapts_nothing_else(source, base, expert, adapter):
    rows = torch.randn(2, 7, base.width, generator=torch.Generator().manual_seed(3))
    theirs, adapted = of_peft(source, adapter, rows)
    torch.testing.assert_close(ours(base, expert, rows), theirs, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert (base.head(read(base, rows)) - theirs).abs().max() > 0.1
    places = {
        name.partition(".lora_")[0] for name, _ in adapted.named_parameters() if "lora_" in name
    }
    assert len(places) == len(sites_of(base.language))
    assert not any("vision" in place for place in places)


@by_peft
def test_an_adapter_that_peft_wrote_is_read(tmp_path, source, base, expert, adapter):
    rows = torch.zeros(1, 2, base.width)
    _, adapted = of_peft(source, adapter, rows)
    adapted.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    change(tmp_path / "theirs", base_model_name_or_path="some/tiny-llava")
    found = load_adapter(tmp_path / "theirs", base, RANK, SCALE)
    assert found.keys() == expert.keys()
    assert all(np.array_equal(found[name], expert[name]) for name in expert)


def test_what_is_saved_is_what_is_read(base, expert, adapter):
    found = load_adapter(adapter, base, RANK, SCALE)
    assert found.keys() == expert.keys()
    assert all(np.array_equal(found[name], expert[name]) for name in expert)
    settings = json.loads((adapter / CONFIG).read_text())
    assert (settings["r"], settings["lora_alpha"]) == (3, 6)
    assert settings["base_model_name_or_path"] == "tiny-llava"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_model_name_or_path": "some/other"}, "made for the base model some/other, not for"),
        ({"r": 8}, "has rank 8, not 3; set rank to it"),
        ({"lora_alpha": 16}, "has lora_alpha 16, not 6"),
        ({"peft_type": "IA3"}, "is no LoRA adapter"),
        ({"use_dora": True}, "has use_dora=True, which an expert cannot express"),
    ],
)
def test_another_kind_of_adapter_is_refused(base, adapter, settings, words):
    change(adapter, **settings)
    with pytest.raises(OptionError, match=words):
        load_adapter(adapter, base, RANK, SCALE)


def test_settings_that_are_off_are_none_of_our_business(base, adapter):
    change(adapter, use_dora=None, modules_to_save=[], exclude_modules=None, megatron_core="x")
    assert load_adapter(adapter, base, RANK, SCALE)


def test_missing_and_strange_sites_are_refused(base, adapter):
    weights = load_file(adapter / WEIGHTS)
    name = "base_model.model.model.language_model.layers.1.mlp.up_proj.lora_B.weight"
    lacking = {key: value for key, value in weights.items() if key != name}
    save_file(lacking, adapter / WEIGHTS)
    with pytest.raises(OptionError, match=r"lacks layers\.1\.mlp\.up_proj\.lora_B; make one"):
        load_adapter(adapter, base, RANK, SCALE)
    save_file({**weights, name: weights[name][:-1]}, adapter / WEIGHTS)
    with pytest.raises(OptionError, match=r"of shape \(47, 3\), not \(48, 3\)"):
        load_adapter(adapter, base, RANK, SCALE)
    tower = "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({**weights, tower: weights[name]}, adapter / WEIGHTS)
    with pytest.raises(OptionError, match=r"vision_tower.* where no expert sits"):
        load_adapter(adapter, base, RANK, SCALE)
    save_file({**weights, name.replace("layers.1", "layers.7"): weights[name]}, adapter / WEIGHTS)
    with pytest.raises(OptionError, match=r"adapts layers\.7.* where no expert sits"):
        load_adapter(adapter, base, RANK, SCALE)


def test_what_is_no_adapter_is_refused(tmp_path, base, adapter):
    with pytest.raises(OptionError, match=r"is no adapter .*adapter_config\.json"):
        load_adapter(tmp_path / "nowhere", base, RANK, SCALE)
    (adapter / WEIGHTS).write_bytes(b"not tensors")
    with pytest.raises(OptionError, match="is damaged"):
        load_adapter(adapter, base, RANK, SCALE)
    with pytest.raises(OptionError, match="has no expert of its own"):
        save_adapter(tmp_path / "new", {"anchor": np.zeros(3)}, base.identity.id, SCALE)
