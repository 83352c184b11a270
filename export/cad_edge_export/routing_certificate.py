"""How often frames would choose the experts that their product chose, for certificates."""

import numpy as np
import torch

from cad_edge.store.artifact import LearnedTask
from cad_edge_training.method import ChoosesExperts


def same_experts(task: LearnedTask, model: torch.nn.Module) -> dict[str, float]:
    """Compare what images and their product choose, for a `Certificate`.

    An engine may do either; where both figures are 1 the two answer alike as far as can be seen.
    Empty where a method has no experts to choose.
    """
    if not isinstance(model, ChoosesExperts):
        return {}
    with torch.inference_mode():
        alike = model.same_experts(torch.from_numpy(np.ascontiguousarray(task.witness["image"])))
    return {
        "same_experts_held_out": model.same_experts_held_out(),
        "same_experts_witness": float(alike.float().mean()),
    }
