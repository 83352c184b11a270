"""The constant text: what Stable Diffusion's text encoder says of the empty one."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from cad_edge.errors import OptionError
from cad_edge_training.backbones.pretrained import find_part

FILE = "empty_text.safetensors"
"""Beside the parts of a folder: its tensor `NAME`, (tokens, width)."""
NAME = "context"


class EmptyText:
    """Reads the constant text when called: from `FILE`, or by the folder's text encoder.

    Parameters
    ----------
    folder
        Of a Stable Diffusion 1.5.
    width
        That its U-Net attends to.

    Raises
    ------
    OptionError
        There is neither, or it is of another width.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self._folder, self._width = folder, width
        if not (folder / FILE).is_file() and not self._encoder_weights():
            raise OptionError(
                f"{folder} has neither {FILE} nor a text_encoder as safetensors with its "
                "tokenizer; give one of them"
            )

    def __call__(self) -> Tensor:
        """Return the text (tokens, width) float32."""
        path = self._folder / FILE
        found = _stored(path) if path.is_file() else self._encoded()
        if found.dim() != 2 or found.shape[1] != self._width or not found.isfinite().all():
            raise OptionError(
                f"the empty text of {self._folder} is of shape {tuple(found.shape)}, and its U-Net "
                f"attends to {self._width} finite numbers a token; take both from one model"
            )
        return found

    def _encoder_weights(self) -> bool:
        parts = (self._folder / one for one in ("text_encoder", "tokenizer"))
        return all(one.is_dir() for one in parts) and any(
            (self._folder / "text_encoder").glob("*.safetensors")
        )

    def _encoded(self) -> Tensor:
        from transformers import AutoTokenizer, CLIPTextModel

        tokenizer = find_part(AutoTokenizer, str(self._folder / "tokenizer"))
        encoder = find_part(CLIPTextModel, str(self._folder / "text_encoder")).float().eval()
        length = encoder.config.max_position_embeddings
        ids = tokenizer("", padding="max_length", max_length=length, return_tensors="pt").input_ids
        with torch.no_grad():
            out: Tensor = encoder(ids).last_hidden_state[0]
        return out.clone()


def _stored(path: Path) -> Tensor:
    try:
        found: Tensor = load_file(path)[NAME].float()
    except Exception:  # safetensors has an exception of its own
        raise OptionError(f"{path} holds no tensor {NAME}; write it again") from None
    return found
