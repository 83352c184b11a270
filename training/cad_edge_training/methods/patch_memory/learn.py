"""Learning one task: memory banks of its patches, and scales from held-out good parts."""

import numpy as np
import torch

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.patch_memory.config import Config
from cad_edge_training.methods.patch_memory.features import extract, fit
from cad_edge_training.methods.patch_memory.held_out import calibration_of, fit_scales, hold_out
from cad_edge_training.methods.patch_memory.model import PatchMemory


def learn(request: LearningRequest, config: Config) -> LearningResult:
    """Learn one task; nothing is trained, and no other task has a say.

    Parameters
    ----------
    request
        Training images, backbone, seed and which images are held out.
    config
        Options of the method.
    """
    features = extract(request.backbone, request.images, config, request.progress)
    held_out = hold_out(request, config, features)
    scales = fit_scales(config, held_out, request.keep_outliers)
    calibration = calibration_of(request, config, held_out, scales)
    learned = torch.from_numpy(request.folds.learned())
    tensors = scales | fit(features.of(learned), config, request.seed)
    return LearningResult(
        {name: tensor.numpy().astype(np.float32) for name, tensor in tensors.items()},
        calibration,
    )


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> PatchMemory:
    """Return the reference model of a learned task."""
    learned = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    return PatchMemory(backbone, config, learned).eval()
