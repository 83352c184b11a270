"""Untrained CLIP, DINOv2 and EfficientNet, small and saved as transformers saves the real ones."""

import json
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


def efficientnet_config(side: int = 64, padding: tuple[int, ...] = (), **shape):
    """Configuration with blocks of every stage, most of them in pairs; B4's is 1.4 by 1.8.

    ``padding`` names blocks that meet a grid of odd size in an image of ``side`` pixels.
    """
    from transformers import EfficientNetConfig
    from transformers.models.efficientnet.modeling_efficientnet import round_filters

    shape = {"width_coefficient": 0.3, "depth_coefficient": 0.6} | shape
    config = EfficientNetConfig(image_size=side, depthwise_padding=padding, **shape)
    config.hidden_dim = round_filters(config, 1280)
    return config


def efficientnet(config, seed: int = 1):
    """Untrained EfficientNetModel whose features stay of order one, as those of a trained one do.

    As transformers initialises it they vanish, since its norms scale by hundredths.
    """
    from transformers import EfficientNetModel

    model = EfficientNetModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.Conv2d):
                part.weight.normal_(0, part.weight[0].numel() ** -0.5, generator=generator)
                if part.bias is not None:
                    part.bias.normal_(0, 0.1, generator=generator)
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(0, 0.2, generator=generator)
            norm.momentum = 1.0
            norm.train()
        model(blotches(8, 64, generator))
    return model.eval()


def blotches(count: int, side: int, generator: torch.Generator) -> torch.Tensor:
    """Pixels (count, 3, side, side) of images that differ; of noise deep features are all alike."""
    coarse = torch.randn((count, 3, 6, 6), generator=generator)
    colour = torch.randn((count, 3, 1, 1), generator=generator)
    fine = torch.randn((count, 3, side, side), generator=generator)
    return torch.nn.functional.interpolate(coarse, side, mode="bilinear") + colour + 0.3 * fine


def save_efficientnet(folder: Path, config=None, settings=None, seed: int = 1) -> Path:
    """Save an `efficientnet`; ``settings`` are those of its image processor."""
    efficientnet(config or efficientnet_config(), seed).save_pretrained(folder)
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
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
