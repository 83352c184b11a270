"""The base model that comes with the package."""

import pytest
import torch

from cad_edge.errors import OptionError
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.llava import small


@pytest.fixture(scope="module")
def base():
    return load_backbone("llava-small")


def test_its_shape(base):
    assert base.identity.id == "llava-small"
    assert (base.n_patches, base.vision_width, base.width) == (49, 528, 256)
    assert base.recipe.width == base.recipe.height == 224
    assert sum(part.numel() for part in base.language.parameters()) < 6_000_000
    assert base.head.weight is base.language.get_submodule("embed_tokens").weight


def test_it_explains_in_words(base):
    """A few greedy steps by transformers' own loop give an answer that ends."""
    prompt = base.prompt("What is in the image?")
    image = torch.full((1, 224, 224, 3), 128, dtype=torch.uint8)
    states = base.run(base.normalise(image), base.n_blocks - 1)
    parts = [
        base.embed(torch.tensor(prompt.before)),
        base.image_tokens(base.tower_tokens(states))[0],
    ]
    rows = torch.cat((*parts, base.embed(torch.tensor(prompt.after))))[None]
    said: list[int] = []
    while len(said) < 24 and (not said or said[-1] not in base.stop_ids):
        hidden = base.language(inputs_embeds=rows).last_hidden_state[:, -1]
        said.append(int(base.head(hidden).argmax()))
        rows = torch.cat((rows, base.embed(torch.tensor(said[-1:]))[None]), dim=1)
    assert said[-1] in base.stop_ids
    assert base.tokenizer.decode(said).startswith("The image shows a")


def test_another_size_is_refused():
    with pytest.raises(OptionError, match=r"size 112 does not fit .* one tile of 224 px"):
        load_backbone("llava-small", 112)


def test_an_installation_without_it_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setattr(small, "files", lambda package: tmp_path)
    with pytest.raises(OptionError, match=r"not in this installation; install cad-edge again"):
        load_backbone("llava-small")
