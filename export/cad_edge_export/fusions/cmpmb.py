"""CMPMB fused: one pass per frame, early blocks shared with routing, the task as bound tensors.

Exact rewrites (METHODS 2.3, 0.4): batch norms into convolutions, prompts of convolutional trunks
into biases (fused layout), |f - c|^2 = |f|^2 - 2 f c + |c|^2 with the last two terms constant and
the minimum taken before the root, and map = A M A^T.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_export.fusion import Fusion
from cad_edge_export.scoring_head import ScoringFusion, ScoringHead
from cad_edge_export.trunk import folded, folds_prompt
from cad_edge_training.backbones import Backbone
from cad_edge_training.memory_bank import root_epsilon
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.model import MEMORY, read_prompts
from cad_edge_training.methods.cmpmb.text import text_map
from cad_edge_training.patch_features import as_patches, grid_of, patch_features

Array = np.ndarray[Any, np.dtype[Any]]


def fold_tensors(learned: Tensors, config: Config) -> Tensors:
    """Tensors of the artifact in the form that the head takes, all float32."""
    bank = learned[MEMORY]
    missing = max(config.bank_size - len(bank), 0)
    # The first patch again: the minimum stays, and all tasks share a shape.
    patches = np.concatenate([bank, np.repeat(bank[:1], missing, axis=0)])
    squares = (patches.astype(np.float64) ** 2).sum(1) + root_epsilon(torch.from_numpy(bank))
    tensors: Tensors = {
        "memory": -2 * patches.T,
        "memory_squares": squares,
        "shift": np.zeros(bank.shape[1]),
    }
    if "text/feature" in learned:
        feature = learned["text/feature"]
        tensors["text_feature"] = feature / np.linalg.norm(feature)
    tensors |= {
        f"{name.removeprefix('anm/')}_centre": value
        for name, value in learned.items()
        if name.startswith("anm/")
    }
    tensors |= {
        name.replace("/", "_"): value
        for name, value in learned.items()
        if name.startswith("prompt/")
    }
    return {
        name: np.array(value, dtype=np.float32, order="C")
        for name, value in sorted(tensors.items())
    }


class CmpmbHead(ScoringHead[Config]):
    """Distance to the memory bank and, where there is a text branch, to the text."""

    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Score (batch,) and anomaly_map (batch, height, width)."""
        features = patch_features(self.backbone, states, self.config.blocks)
        patches = self._patches(features, states, tensors)
        grid = grid_of(features)
        return patches.amax(dim=1), self.anomaly_map(
            patches.reshape(-1, *grid), self.config.smoothing
        )

    def prompt(self, index: int, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Prompt of a block, where it is not in the backbone's weights."""
        return tensors.get(f"prompt_{index}")

    def means(self, states: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Mean features (channels,), which the shift takes back to where they were."""
        features = patch_features(self.backbone, states, self.config.blocks)
        return {"shift": features.mean(dim=(0, 2, 3))}

    def _patches(
        self, features: Tensor, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """M (batch, n_patches)."""
        patches = as_patches(features) + tensors["shift"]
        nearest = (patches @ tensors["memory"] + tensors["memory_squares"]).amin(2)
        # Only rounding can bring a square below its floor; the root must not see it.
        distance = torch.sqrt(((patches * patches).sum(2) + nearest).clamp_min(0))
        visual = self._normalised(distance, tensors.get("patch_centre"))
        if "text_feature" not in tensors:
            return visual
        text = text_map(self.backbone, states, tensors["text_feature"], self.config).flatten(1)
        weight = self.config.visual_weight
        return weight * visual + (1 - weight) * self._normalised(text, tensors.get("text_centre"))

    def _normalised(self, values: Tensor, centre: Tensor | None) -> Tensor:
        """ANM; a task learned without it has no centre."""
        if centre is None:
            return values
        return torch.sigmoid(self.config.slope * (values - centre))


class CMPMBFusion(ScoringFusion[Config]):
    """CMPMB as the exporter sees it."""

    config, head = Config, CmpmbHead

    def blocks(self, config: Config) -> tuple[int, ...]:
        """Blocks whose features are scored, ascending."""
        return config.blocks

    def entry_block(self, backbone: Backbone, config: Config) -> int:
        """Last block of the entry, which does not go into a prompted block either."""
        last = super().entry_block(backbone, config)
        return min(last, config.prompt_from_block - 1) if config.prompts else last

    def tensors(self, learned: Tensors, backbone: Backbone, config: Config) -> Tensors:
        """Memory bank, centres, text and prompts, folded."""
        return fold_tensors(learned, config)

    def follow(self, tensors: Tensors, moved: Tensors) -> Tensors:
        """Shift the features back to where they were."""
        return {"shift": tensors["shift"] - moved["shift"]}

    def baked(self, backbone: Backbone, tensors: Tensors) -> tuple[Backbone, Tensors]:
        """Prompts into weights where they fold away; others stay as constants of their blocks."""
        prompts = read_prompts(
            {name.replace("_", "/"): torch.from_numpy(value) for name, value in tensors.items()}
        )
        gone = {f"prompt_{index}" for index in prompts if folds_prompt(backbone, index)}
        kept = {name: value for name, value in tensors.items() if name not in gone}
        return folded(backbone, prompts), kept


FUSION: Fusion[Config] = CMPMBFusion()
