"""Learning one task: sums over its images, and calibration from folds that are taken off them."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.folds import Index
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.padim.config import Config
from cad_edge_training.methods.padim.model import Moments, PaDiM, distance, features_in
from cad_edge_training.patch_calibration import calibrate_patches, hold_out
from cad_edge_training.patch_features import in_batches


def learn(request: LearningRequest, config: Config) -> LearningResult:
    """Learn one task in closed form; no other task has a say."""
    # Fewer images than dimensions: without a fifth of them distances would be larger than finally.
    request = request.with_folds(100)
    look = partial(features_in, request.backbone, config)
    features = in_batches(request.images, look, request.progress)
    total = Moments.of(features)

    def judge(fitted: Index, held: Index) -> Tensor:
        seen = features[held]
        return distance(seen, total.minus(Moments.of(seen)).gaussian(config.shrinkage))

    calibration = calibrate_patches(request, *hold_out(request, judge), config.smoothing)
    gaussian = Moments.of(features[request.folds.learned()]).gaussian(config.shrinkage)
    return LearningResult({name: tensor.numpy() for name, tensor in gaussian.items()}, calibration)


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> PaDiM:
    """Return the reference model of a learned task."""
    learned = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    return PaDiM(backbone, config, learned).eval()
