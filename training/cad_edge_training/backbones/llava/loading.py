"""Reading a LLaVA-OneVision with all of its weights, from a hub or a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from cad_edge.errors import OptionError
from cad_edge_training.backbones.llava.base import LlavaBase
from cad_edge_training.backbones.llava.vision import Lite0Vision, SiglipVision, VisionTower
from cad_edge_training.backbones.pretrained import find_part, source_name

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KIND = "llava_onevision"
SIGLIP = "siglip_vision_model"


def load_llava(source: str, size: int | None = None, name: str | None = None) -> LlavaBase:
    """Load a frozen LLaVA-OneVision in float32.

    Parameters
    ----------
    source
        Hub id (``llava-hf/llava-onevision-qwen2-0.5b-ov-hf``, ...) or a local folder that
        transformers can read, ``tokenizer.json`` included.
    size
        Input side in pixels, which can only be that of the tower.
    name
        Identity; ``llava:`` and the id or folder's name if None.

    Raises
    ------
    OptionError
        Nothing is found at ``source``, it is of another kind, weights are missing, or ``size`` is
        not that of the tower.
    """
    try:
        import transformers

        from cad_edge_training.backbones.llava import tower
    except ImportError:
        raise OptionError(
            f"{source} needs transformers; install it with `pip install transformers` "
            "(extra `train`)"
        ) from None
    tower.register()
    config = find_part(transformers.AutoConfig, source)
    _check(config, source, size)
    model, report = find_part(_LlavaWithReport(), source)
    if report["missing_keys"]:
        raise OptionError(f"{source} lacks the weights {min(report['missing_keys'])}; get it again")
    tokenizer = find_part(_TokenizerFile(), source)
    return LlavaBase(model, _vision(model), tokenizer, name or f"llava:{source_name(source)}")


def _check(config: Any, source: str, size: int | None) -> None:  # noqa: ANN401  (untyped)
    """Refuse what is not one square tile of a known tower before gigabytes are read."""
    from cad_edge_training.backbones.llava.tower import MODEL_TYPE

    if config.model_type != KIND:
        raise OptionError(f"{source} holds a {config.model_type} model; give one of type {KIND}")
    vision, towers = config.vision_config, (SIGLIP, MODEL_TYPE)
    if vision.model_type not in towers or config.text_config.model_type != "qwen2":
        raise OptionError(
            f"{source} joins {vision.model_type} and {config.text_config.model_type}; give one of "
            f"{' or '.join(towers)} and qwen2"
        )
    layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
    if not isinstance(layer, int) or strategy != "full":
        raise OptionError(
            f"{source} joins several layers or drops a token of its tower, which is not "
            "supported; give one with a single vision_feature_layer and all tokens"
        )
    side = vision.image_size
    if size not in (None, side):
        raise OptionError(
            f"size {size} does not fit {source}, whose images are one tile of {side} px; "
            f"leave the size out or take {side}"
        )


def _vision(model: nn.Module) -> VisionTower:
    """Take the tower apart; that of the embedded backbone gets its weights here."""
    from cad_edge_training.backbones.llava.tower import Lite0VisionModel

    config: Any = model.config
    tower = model.get_submodule("model.vision_tower")
    if isinstance(tower, Lite0VisionModel):
        tower.put_in_weights()
        return Lite0Vision(tower.trunk)
    return SiglipVision(tower, config.vision_feature_layer)


class _LlavaWithReport:
    """The model in float32, and which weights a checkpoint lacked, instead of invented ones."""

    def from_pretrained(self, source: str, local_files_only: bool) -> Any:  # noqa: ANN401
        import torch
        from transformers import LlavaOnevisionForConditionalGeneration
        from transformers.utils import logging

        # Its bar would break into the one that shows what is learned.
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            return LlavaOnevisionForConditionalGeneration.from_pretrained(
                source,
                local_files_only=local_files_only,
                output_loading_info=True,
                dtype=torch.float32,
            )
        finally:
            if shown:
                logging.enable_progress_bar()


class _TokenizerFile:
    """The file ``tokenizer.json``, which the device reads too."""

    def from_pretrained(self, source: str, local_files_only: bool) -> "Tokenizer":
        from tokenizers import Tokenizer
        from transformers.utils.hub import cached_file

        if Path(source).is_dir() and not (Path(source) / "tokenizer.json").is_file():
            # transformers would name a hub, where nobody has looked.
            raise FileNotFoundError("it has no tokenizer.json")
        path = cached_file(source, "tokenizer.json", local_files_only=local_files_only)
        return Tokenizer.from_str(Path(str(path)).read_text("utf-8"))
