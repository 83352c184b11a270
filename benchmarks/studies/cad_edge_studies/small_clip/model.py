"""The shape of the small CLIP, its loss, and images and captions as it takes them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from cad_edge_studies.embedded_language_model.scenes import DescribedScene
from cad_edge_training.backbones.clip import DEVIATION, MEAN

SIDE = 112  # pixels; 49 patches, so that a step takes seconds
VISION = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
}
TEXT = {**VISION, "num_hidden_layers": 2, "intermediate_size": 256, "max_position_embeddings": 48}


def new_model(tokenizer: CLIPTokenizer, seed: int) -> CLIPModel:
    """Draw the weights; equal seeds give equal ones."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config={**TEXT, **special, "vocab_size": len(tokenizer)},
        vision_config={**VISION, "image_size": SIDE, "patch_size": 16},
        projection_dim=128,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIPModel(config)


def pixels_of(scenes: Sequence[DescribedScene]) -> Tensor:
    """Pixels (scenes, 3, SIDE, SIDE) float32 as CLIP normalises them."""
    small = [
        Image.fromarray(scene.image).resize((SIDE, SIDE), Image.Resampling.BOX) for scene in scenes
    ]
    images: NDArray[np.uint8] = np.stack([np.asarray(image) for image in small])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(three).reshape(1, 3, 1, 1) for three in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def similarities(
    model: CLIPModel, tokenizer: CLIPTokenizer, pixels: Tensor, texts: Sequence[str]
) -> Tensor:
    """Cosines times the learned scale, (images, texts)."""
    tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
    found: Tensor = model(
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        pixel_values=pixels,
    ).logits_per_image
    return found


def contrastive_loss(logits: Tensor, texts: Sequence[str]) -> Tensor:
    """Mean cross-entropy of images among texts and of texts among images.

    Equal texts are equally right: a good grey washer has the caption of every other.

    Parameters
    ----------
    logits
        (n, n) float32, image i beside text j.
    texts
        n captions.
    """
    same = torch.tensor([[float(one == other) for other in texts] for one in texts])
    right = same / same.sum(dim=1, keepdim=True)
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2
