"""An untrained LLaVA-OneVision of some hundred kilobytes, saved as transformers saves them."""

from pathlib import Path

import torch

WORDS = (
    "Are there any defects for the object in the image?"
    " Please reply with only one word 'Yes' or 'No'.",
    "What kind of defect is it? Where is the defect?",
    "There is a dark scratch in the upper left. The surface is clean.",
)
VOCABULARY = 420
SIGLIP_SIDE, SIGLIP_PATCH = 28, 14
LITE0_SIDE = 96  # nine cells of 32 px


def save_tiny_llava(folder: Path, tower: str = "siglip", seed: int = 1) -> Path:
    """Write a folder that `load_llava` reads; ``tower`` is ``siglip`` or ``lite0``.

    As for the embedded model, the weights of the Lite0 tower are not in the folder.
    """
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
    )

    from cad_edge_training.backbones.llava.chat import IMAGE
    from cad_edge_training.backbones.llava.small_tokenizer import build_tokenizer

    tokenizer = build_tokenizer(WORDS, VOCABULARY)
    config = LlavaOnevisionConfig(
        vision_config=_vision(tower),
        text_config=Qwen2Config(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        ),
        image_token_index=tokenizer.token_to_id(IMAGE),
        video_token_index=tokenizer.token_to_id(IMAGE),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaOnevisionForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Every weight moves, so that zeros and ones of the initialisation hide nothing.
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    state = model.state_dict()
    if tower == "lite0":
        state = {name: value for name, value in state.items() if ".vision_tower." not in name}
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _vision(tower: str):
    from transformers import SiglipVisionConfig

    from cad_edge_training.backbones.llava.tower import Lite0VisionConfig, register

    if tower == "lite0":
        register()
        return Lite0VisionConfig(image_size=LITE0_SIDE)
    return SiglipVisionConfig(
        image_size=SIGLIP_SIDE,
        patch_size=SIGLIP_PATCH,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        vision_use_head=False,
    )
