"""Learning one task with CMPMB: prompts, memory, and scales from held-out normals."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cad_edge.artifact import Tensors
from cad_edge.calibration import Calibration
from cad_edge_training.backbones import Backbone
from cad_edge_training.folds import Folds
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.learned import Learned, Progress, Request
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.memory import (
    Whitening,
    compress,
    fit_whitening,
    identity_whitening,
)
from cad_edge_training.methods.cmpmb.model import (
    CMPMB,
    Memory,
    Scale,
    as_patches,
    patch_features,
    statistics_of,
    top_mean,
)


BATCH = 16  # images per pass through the trunk
MAX_PATCHES = 200_000  # patches that whitening and compression see, drawn with the seed


@dataclass(frozen=True)
class Features:
    """What the frozen trunk says of the training images."""

    patches: Tensor
    """(n, n_patches, channels) float32."""
    statistics: Tensor | None
    """(n, n_statistics) float32."""
    text: Tensor | None
    """(n, grid height, grid width) text distance."""
    grid: tuple[int, int]


def learn(request: Request, config: Config) -> Learned:
    """Learn one task.

    Parameters
    ----------
    request
        Training images, backbone, seed and how to calibrate.
    config
        Options of the method.
    """
    tensors: dict[str, Tensor] = _prompts_and_text(request, config)
    features = extract(request, config, tensors)
    held_out = _hold_out(request, config, features)
    tensors |= _scales(request, config, features, held_out, tensors)
    tensors |= _fit(features, config, torch.from_numpy(request.folds.learned()), request.seed)
    calibration = _calibrate(request, config, features, held_out, tensors)
    return Learned(
        {name: tensor.detach().numpy().astype(np.float32) for name, tensor in tensors.items()},
        calibration,
    )


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> CMPMB:
    """Return the reference model of a learned task."""
    learned = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    return CMPMB(backbone, config, learned).eval()


def _prompts_and_text(request: Request, config: Config) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    if config.prompts:
        from cad_edge_training.methods.cmpmb.prompts import learn_prompts

        prompts = learn_prompts(
            request.backbone, request.images, config, request.seed, request.progress
        )
        tensors |= {f"prompt/{block}": prompt for block, prompt in prompts.items()}
    if config.text:
        from cad_edge_training.methods.cmpmb.text import learn_text_prompt

        named = config.model_copy(update={"class_name": config.class_name or request.task})
        tensors["text/feature"] = learn_text_prompt(
            request.backbone, request.images, named, request.seed, request.progress
        )
    return tensors


def extract(request: Request, config: Config, tensors: dict[str, Tensor]) -> Features:
    """Run every training image through the prompted trunk once."""
    from cad_edge_training.methods.cmpmb.model import read_prompts

    backbone, prompts = request.backbone, read_prompts(tensors)
    patches, statistics, text = [], [], []
    grid = (0, 0)
    with torch.inference_mode():
        for start in range(0, len(request.images), BATCH):
            images = torch.from_numpy(request.images[start : start + BATCH])
            states = backbone.run(backbone.normalise(images), config.last_block, prompts)
            features = patch_features(backbone, states, config)
            grid = (features.shape[-2], features.shape[-1])
            patches.append(as_patches(features))
            if (values := statistics_of(backbone, states, config)) is not None:
                statistics.append(values)
            if "text/feature" in tensors:
                from cad_edge_training.methods.cmpmb.text import text_map

                text.append(text_map(backbone, states, tensors["text/feature"], config))
            request.progress("features", start + len(images), len(request.images))
    return Features(
        torch.cat(patches).clone(),
        torch.cat(statistics).clone() if statistics else None,
        torch.cat(text).clone() if text else None,
        grid,
    )


def _fit(features: Features, config: Config, members: Tensor, seed: int) -> dict[str, Tensor]:
    """Memory and statistics from the images ``members`` (n,) int64."""
    patches = features.patches[members].flatten(0, 1)
    if len(patches) > MAX_PATCHES:
        generator = torch.Generator().manual_seed(seed)
        patches = patches[torch.randperm(len(patches), generator=generator)[:MAX_PATCHES]]
    whitening = (
        fit_whitening(patches, config.shrinkage)
        if config.whitening
        else identity_whitening(patches.shape[1])
    )
    tensors = {
        "whitening/mean": whitening.mean,
        "whitening/matrix": whitening.matrix,
        "memory": compress(whitening.apply(patches), config.memory, config.memory_size, seed),
    }
    if features.statistics is not None:
        tensors |= _fit_statistics(features.statistics[members], config)
    return tensors


def _fit_statistics(values: Tensor, config: Config) -> dict[str, Tensor]:
    """Whitening of channel statistics (n, n_statistics), each brought to unit deviation first.

    Means of early channels and deviations of late ones differ in scale by orders of magnitude; the
    shrinkage would flatten the small ones.
    """
    deviation = values.std(dim=0, correction=0) + 1e-6
    whitening = fit_whitening(values / deviation, config.statistics_shrinkage)
    return {
        "statistics/mean": whitening.mean * deviation,
        "statistics/matrix": whitening.matrix / deviation[:, None],
    }


@dataclass(frozen=True)
class HeldOut:
    """Raw distances of images whose fold did not take part in the memory."""

    members: Tensor
    """(n,) int64, which training images."""
    distance: Tensor
    """(n, n_patches)"""
    statistics: Tensor | None
    """(n,) whitened length of the channel statistics."""


def _hold_out(request: Request, config: Config, features: Features) -> HeldOut:
    members, distances, lengths = [], [], []
    for number, (fitted, held) in enumerate(request.folds.splits()):
        part = _fit(features, config, torch.from_numpy(fitted), request.seed)
        memory = Memory(Whitening(part["whitening/mean"], part["whitening/matrix"]), part["memory"])
        index = torch.from_numpy(held)
        members.append(index)
        distances.append(memory.distance(features.patches[index]))
        if features.statistics is not None:
            whitening = Whitening(part["statistics/mean"], part["statistics/matrix"])
            lengths.append(whitening.apply(features.statistics[index]).norm(dim=1))
        request.progress("held-out scores", number + 1, request.folds.count)
    return HeldOut(
        torch.cat(members), torch.cat(distances), torch.cat(lengths) if lengths else None
    )


def _scales(
    request: Request,
    config: Config,
    features: Features,
    held_out: HeldOut,
    tensors: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Shift and gain of every part of the score, from held-out normals alone."""
    text = features.text[held_out.members].flatten(1) if features.text is not None else None
    if config.normalisation == "sigmoid":
        from cad_edge_training.methods.cmpmb.normalisation import sigmoid_scales

        scales = sigmoid_scales(request, config, features.grid, held_out.distance, text, tensors)
    else:
        scales = {"scale/patch": _standard(held_out.distance)}
        if text is not None:
            scales["scale/text"] = _standard(text)
    if held_out.statistics is not None:
        fused = _fused(config, held_out.distance, text, scales)
        scales["scale/local"] = _standard(top_mean(fused, config.top_fraction))
        scales["scale/global"] = _standard(held_out.statistics)
    return scales


def _standard(values: Tensor) -> Tensor:
    """(mean, 1 / deviation) of values."""
    gain = 1.0 / max(float(values.double().std()), 1e-6)
    return torch.tensor([float(values.double().mean()), gain])


def _fused(
    config: Config, distance: Tensor, text: Tensor | None, scales: dict[str, Tensor]
) -> Tensor:
    visual = _normalised(config, distance, scales["scale/patch"])
    if text is None:
        return visual
    weight = config.visual_weight
    return weight * visual + (1 - weight) * _normalised(config, text, scales["scale/text"])


def _normalised(config: Config, values: Tensor, shift_gain: Tensor) -> Tensor:
    scaled = Scale(float(shift_gain[0]), float(shift_gain[1])).apply(values)
    return torch.sigmoid(scaled) if config.normalisation == "sigmoid" else scaled


def _calibrate(
    request: Request,
    config: Config,
    features: Features,
    held_out: HeldOut,
    tensors: dict[str, Tensor],
) -> Calibration:
    text = features.text[held_out.members].flatten(1) if features.text is not None else None
    fused = _fused(config, held_out.distance, text, tensors)
    score = top_mean(fused, config.top_fraction)
    if held_out.statistics is not None:
        local, whole = tensors["scale/local"], tensors["scale/global"]
        score = (score - local[0]) * local[1] + (held_out.statistics - whole[0]) * whole[1]
    recipe = request.backbone.recipe
    rows = torch.from_numpy(map_matrix(recipe.height, features.grid[0], config.smoothing))
    columns = torch.from_numpy(map_matrix(recipe.width, features.grid[1], config.smoothing))
    peaks = [float((rows @ patches.reshape(features.grid) @ columns.T).max()) for patches in fused]
    return Calibration(
        scheme=request.folds.scheme,
        folds=request.folds.count,
        scores=sorted(float(value) for value in score),
        map_peaks=sorted(peaks),
    )


__all__ = ["Config", "Folds", "Progress", "build_model", "extract", "learn"]
