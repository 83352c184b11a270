"""A base model of given dimensions with random weights, as transformers saves one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cad_edge_studies.cl_anomaly_full_size.dimensions import Dimensions

if TYPE_CHECKING:
    from cad_edge_training.backbones.llava import LlavaBase

WORDS = 2 * (  # twice, so that every word of them becomes a token
    "Are there any defects for the object in the image?"
    " Please reply with only one word 'Yes' or 'No'.",
    "There is a dark scratch in the upper left. The surface is clean.",
)
TOKENIZER_SIZE = 2000
SEED = 0


def write_base(folder: Path, dimensions: Dimensions) -> None:
    """Write config, float32 weights and tokenizer; nothing if they are there."""
    if (folder / "tokenizer.json").exists():
        return
    import torch
    from transformers import LlavaOnevisionForConditionalGeneration

    from cad_edge_training.backbones.llava.chat import IMAGE
    from cad_edge_training.backbones.llava.small_tokenizer import build_tokenizer

    tokenizer = build_tokenizer(WORDS, TOKENIZER_SIZE)
    torch.manual_seed(SEED)
    config = _config(dimensions, tokenizer.token_to_id(IMAGE))
    LlavaOnevisionForConditionalGeneration(config).save_pretrained(folder)
    # Last of all, so that a folder that has it is whole.
    tokenizer.save(str(folder / "tokenizer.json"))


def _config(dimensions: Dimensions, image_token: int | None) -> Any:  # noqa: ANN401  (untyped)
    from transformers import LlavaOnevisionConfig, Qwen2Config, SiglipVisionConfig

    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            image_size=dimensions.side,
            patch_size=dimensions.patch,
            hidden_size=dimensions.vision_width,
            intermediate_size=dimensions.vision_inner,
            num_hidden_layers=dimensions.vision_layers,
            num_attention_heads=dimensions.vision_heads,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            vocab_size=dimensions.vocabulary,
            hidden_size=dimensions.width,
            intermediate_size=dimensions.inner,
            num_hidden_layers=dimensions.layers,
            num_attention_heads=dimensions.heads,
            num_key_value_heads=dimensions.kv_heads,
            tie_word_embeddings=True,
        ),
        image_grid_pinpoints=[[dimensions.side, dimensions.side]],
        image_token_index=image_token,
        video_token_index=image_token,
        tie_word_embeddings=True,
    )


def write_prompt(path: Path, base: "LlavaBase", question: str) -> None:
    """Write the token ids of one question about one image, and those of its answers."""
    prompt, answers = base.prompt(question), base.answers
    image = base.tokenizer.token_to_id("<image>")
    rows = (base.n_patches + 1) * [image]
    ids = [*prompt.before, *rows, *prompt.after]
    said = {"ids": ids, "yes": answers.yes, "no": answers.no}
    path.write_text(json.dumps(said), encoding="utf-8")
