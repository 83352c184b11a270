"""Learning one task with CMPMB: prompts, memory bank, and calibration from held-out normals."""

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.features import extract, fit_bank
from cad_edge_training.methods.cmpmb.held_out import calibration_of, fit_centres, hold_out
from cad_edge_training.methods.cmpmb.model import CMPMB, MEMORY, read_prompts
from cad_edge_training.methods.cmpmb.prompts import learn_prompts
from cad_edge_training.methods.cmpmb.text import learn_text_prompt


def learn(request: LearningRequest, config: Config) -> LearningResult:
    """Learn one task.

    Parameters
    ----------
    request
        Training images, backbone, seed and which images are held out.
    config
        Options of the method.
    """
    tensors = _prompts_and_text(request, config)
    features = extract(request.backbone, request.images, config, tensors, request.progress)
    held_out = hold_out(request, config, features)
    tensors |= fit_centres(request, config, features, tensors)
    calibration = calibration_of(request, config, held_out, tensors)
    learned = torch.from_numpy(request.folds.learned())
    tensors[MEMORY] = fit_bank(features.of(learned), config, request.seed)
    return LearningResult(
        {name: tensor.detach().numpy().astype(np.float32) for name, tensor in tensors.items()},
        calibration,
    )


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> CMPMB:
    """Return the reference model of a learned task."""
    learned = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    return CMPMB(backbone, config, learned).eval()


def _prompts_and_text(request: LearningRequest, config: Config) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    if config.prompts:
        prompts = learn_prompts(
            request.backbone, request.images, config, request.seed, request.progress
        )
        tensors |= {f"prompt/{block}": prompt for block, prompt in prompts.items()}
    if config.text:
        named = config.model_copy(update={"class_name": config.class_name or request.task})
        tensors["text/feature"] = learn_text_prompt(
            request.backbone,
            request.images,
            named,
            request.seed,
            request.progress,
            read_prompts(tensors),
        )
    return tensors
