"""The embedded model while it learns: a frozen tower, and all behind it from scratch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from cad_edge_studies.embedded_language_model.packing import Packed
from cad_edge_studies.embedded_language_model.scenes import DescribedScene
from cad_edge_training.backbones.llava.small import small_config

CHUNK = 8  # images at a time through the tower; more do not fit a desktop's cache
CELL_SHARE = 0.02  # of a cell that a defect must cover for the cell to count
SMALLEST_DEVIATION = 1e-3


class TrainableModel(nn.Module):
    """Language model, projector and newline, trained on standardised tokens of the tower."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        """Draw the weights; equal seeds give equal ones."""
        from transformers import LlavaOnevisionForConditionalGeneration

        super().__init__()
        self.tokenizer = tokenizer
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = LlavaOnevisionForConditionalGeneration(small_config(tokenizer))
            self.localiser = nn.Linear(self.model.config.text_config.hidden_size, 1)
        self.tower = self.model.get_submodule("model.vision_tower")
        self.tower.put_in_weights()
        self.tower.requires_grad_(False).eval().to(memory_format=torch.channels_last)
        self.language = self.model.get_submodule("model.language_model")
        self.projector = self.model.get_submodule("model.multi_modal_projector")
        self.newline = self.model.get_parameter("model.image_newline")
        self.head = self.model.get_submodule("lm_head")
        width = self.model.config.vision_config.hidden_size
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def trainable(self) -> list[nn.Parameter]:
        """All parameters but those of the tower."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def tower_tokens(self, scenes: Sequence[DescribedScene]) -> Tensor:
        """Tokens (scenes, cells, vision width) of the tower."""
        tokens = []
        for start in range(0, len(scenes), CHUNK):
            images = np.stack([scene.image for scene in scenes[start : start + CHUNK]])
            pixels = self.tower.trunk.normalise(torch.from_numpy(images))
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            tokens.append(self.tower(pixels).last_hidden_state)
        return torch.cat(tokens)

    def standardise(self, tokens: Tensor) -> None:
        """Take mean and deviation of every channel from tokens (scenes, cells, vision width)."""
        self.mean.copy_(tokens.mean(dim=(0, 1)))
        self.deviation.copy_(tokens.std(dim=(0, 1)).clamp_min(SMALLEST_DEVIATION))

    def forward(self, tokens: Tensor, packed: Packed) -> Tensor:
        """Hidden states (batch, length, width) of the last layer.

        ``tokens`` are those that `tower_tokens` gives for the images of ``packed``.
        """
        rows = self.projector((tokens - self.mean) / self.deviation)
        newline = self.newline.expand(len(rows), 1, -1)
        texts = self.language.get_submodule("embed_tokens")(packed.ids)
        before, after = texts[:, : packed.image.start], texts[:, packed.image.stop :]
        hidden: Tensor = self.language(
            inputs_embeds=torch.cat((before, rows, newline, after), dim=1),
            attention_mask=packed.mask,
            position_ids=packed.positions,
            use_cache=False,
        ).last_hidden_state
        return hidden

    @torch.no_grad()
    def save(self, folder: Path) -> None:
        """Write the model in half precision, without the tower, as `load_llava` reads it."""
        first: Any = self.projector.get_submodule("linear_1")  # takes in the standardisation
        first.weight.div_(self.deviation)
        first.bias.sub_(first.weight @ self.mean)
        self.mean.zero_()
        self.deviation.fill_(1.0)
        state = {
            name: value.half()
            for name, value in self.model.state_dict().items()
            if ".vision_tower." not in name
        }
        model: Any = self.model
        folder.mkdir(parents=True, exist_ok=True)
        model.config.dtype = "float16"
        model.save_pretrained(folder, state_dict=state)
        self.tokenizer.save(str(folder / "tokenizer.json"))


def defective_cells(scenes: Sequence[DescribedScene], per_side: int) -> Tensor:
    """Which cells a defect covers: (scenes, per_side * per_side) float32, zeros and ones."""
    masks: NDArray[np.float32] = np.stack([scene.mask for scene in scenes]).astype(np.float32)
    side = masks.shape[1] // per_side
    cells = masks.reshape(len(scenes), per_side, side, per_side, side).mean(axis=(2, 4))
    return torch.from_numpy((cells > CELL_SHARE).reshape(len(scenes), -1).astype(np.float32))
