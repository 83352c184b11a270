"""Untrained CLIP and DINOv2 of a few kilobytes, saved as transformers saves the real ones."""

from pathlib import Path

import torch

WORDS = ("a", "photo", "of", "with", "screw", "red")
SIDE = 32
PATCH = 8


def save_clip(folder: Path, tokenizer: bool = True, seed: int = 1) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    shape = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
    }
    text = {
        **shape,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "vocab_size": 64,
        "max_position_embeddings": 16,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    config = CLIPConfig(
        text_config=text,
        vision_config={**shape, "image_size": SIDE, "patch_size": PATCH},
        projection_dim=24,
    )
    model = _shaken(CLIPModel, config, seed)
    model.save_pretrained(folder)
    if tokenizer:
        _save_tokenizer(CLIPTokenizer, folder)
    return folder


def _save_tokenizer(kind, folder: Path) -> None:
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    merges = []
    for word in WORDS:
        # Every word is one token, built up letter by letter.
        letters = [*word[:-1], word[-1] + "</w>"]
        for end in range(1, len(letters)):
            pair = ("".join(letters[:end]), letters[end])
            if pair not in merges:
                merges.append(pair)
        for part in [*letters, *("".join(letters[:end]) for end in range(1, len(letters) + 1))]:
            vocabulary.setdefault(part, len(vocabulary))
    kind(vocab=vocabulary, merges=merges).save_pretrained(folder)


def save_dinov2(folder: Path, registers: int = 0, side: int = 28, seed: int = 1) -> Path:
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "mlp_ratio": 2,
        "image_size": side,
        "patch_size": 7,
    }
    if registers:
        config = Dinov2WithRegistersConfig(**shape, num_register_tokens=registers)
        model = _shaken(Dinov2WithRegistersModel, config, seed)
    else:
        model = _shaken(Dinov2Model, Dinov2Config(**shape), seed)
    model.save_pretrained(folder)
    return folder


def _shaken(kind, config, seed: int):
    """Move every weight, so that zeros and ones of the initialisation hide nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model
