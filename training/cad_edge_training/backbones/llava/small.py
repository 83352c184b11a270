"""The embedded base model: its shape, and where it lies in the package."""

from importlib.resources import as_file, files
from typing import Any

from cad_edge.errors import OptionError
from cad_edge_training.backbones.llava.base import LlavaBase
from cad_edge_training.backbones.llava.chat import END, IMAGE, TEXT_END
from cad_edge_training.backbones.llava.loading import load_llava

SMALL = "llava-small"
VOCABULARY = 768
LONGEST = 1024  # tokens of a conversation


def small_config(tokenizer: Any) -> Any:  # noqa: ANN401  (transformers is untyped)
    """Configure the small model for a `tokenizers.Tokenizer`.

    Returns
    -------
    LlavaOnevisionConfig
        A Qwen2 of 5 million parameters on the tower of the embedded backbone.
    """
    from transformers import LlavaOnevisionConfig, Qwen2Config

    from cad_edge_training.backbones.llava import tower

    tower.register()
    text = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(TEXT_END),
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(TEXT_END),
    )
    side = tower.Lite0VisionConfig().image_size
    return LlavaOnevisionConfig(
        vision_config=tower.Lite0VisionConfig(image_size=side),
        text_config=text,
        image_token_index=tokenizer.token_to_id(IMAGE),
        video_token_index=tokenizer.token_to_id(IMAGE),
        image_grid_pinpoints=[[side, side]],
    )


def load_small(size: int | None = None) -> LlavaBase:
    """Load the small model that comes with the package.

    Raises
    ------
    OptionError
        It is not there, or ``size`` is not that of its tower.
    """
    folder = files("cad_edge_training.backbones.llava") / "small"
    if not (folder / "config.json").is_file():
        raise OptionError(f"{SMALL} is not in this installation; install cad-edge again")
    with as_file(folder) as path:
        return load_llava(str(path), size, SMALL)
