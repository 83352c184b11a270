"""A base model of given dimensions with random weights, as transformers saves one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cad_edge_training.backbones.llava import LlavaBase

WORDS = 2 * (  # twice, so that every word of them becomes a token
    "Are there any defects for the object in the image?"
    " Please reply with only one word 'Yes' or 'No'.",
    "There is a dark scratch in the upper left. The surface is clean.",
)
TOKENIZER_SIZE = 2000
SEED = 0


@dataclass(frozen=True)
class Dimensions:
    """The published LLaVA-OneVision-0.5B, as transformers reads it, and how many tasks it learned.

    Its tower is SigLIP so400m/14 without the last of its 27 blocks: neither side computes that.
    """

    side: int = 384
    patch: int = 14
    vision_width: int = 1152
    vision_layers: int = 26
    vision_heads: int = 16
    vision_inner: int = 4304
    width: int = 896
    layers: int = 24
    heads: int = 14
    kv_heads: int = 2
    inner: int = 4864
    vocabulary: int = 152_064
    tasks: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order in which they are learned."""
        return tuple(f"product-{number:02d}" for number in range(self.tasks))


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
    rows = (base.n_patches + 1) * [base.tokenizer.token_to_id("<image>")]
    said = {"ids": [*prompt.before, *rows, *prompt.after], "yes": answers.yes, "no": answers.no}
    path.write_text(json.dumps(said), encoding="utf-8")
