"""Scales and calibration from held-out normals: no other image has a say in them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cad_edge.calibration import Calibration
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.learned import Images, Request
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.features import Features, extract, fit
from cad_edge_training.methods.cmpmb.memory import Whitening
from cad_edge_training.methods.cmpmb.model import Memory, Scale, fuse_maps, normalise, top_mean
from cad_edge_training.methods.cmpmb.normalisation import sigmoid_scales


@dataclass(frozen=True)
class HeldOut:
    """Raw values of images whose fold took no part in the memory that judges them."""

    distance: Tensor
    """(n, n_patches)"""
    statistics: Tensor | None
    """(n,) whitened length of the channel statistics."""
    text: Tensor | None
    """(n, n_patches)"""


def hold_out(request: Request, config: Config, features: Features) -> HeldOut:
    """Fit once per fold and measure the images of that fold."""
    distances, lengths, members = [], [], []
    for number, (fitted, held) in enumerate(request.folds.splits()):
        part = fit(features, config, torch.from_numpy(fitted), request.seed)
        index = torch.from_numpy(held)
        members.append(index)
        distances.append(memory_of(part).distance(features.patches[index]))
        if features.statistics is not None:
            lengths.append(statistics_of_part(part, features.statistics[index]))
        request.progress("held-out scores", number + 1, request.folds.count)
    return HeldOut(
        torch.cat(distances),
        torch.cat(lengths) if lengths else None,
        features.text[torch.cat(members)] if features.text is not None else None,
    )


def memory_of(tensors: Mapping[str, Tensor]) -> Memory:
    """Return the memory of fitted tensors."""
    whitening = Whitening(tensors["whitening/mean"], tensors["whitening/matrix"])
    return Memory(whitening, tensors["memory"])


def statistics_of_part(tensors: Mapping[str, Tensor], values: Tensor) -> Tensor:
    """Whitened length (n,) of channel statistics (n, n_statistics)."""
    whitening = Whitening(tensors["statistics/mean"], tensors["statistics/matrix"])
    whitened = whitening.apply(values)
    return torch.sqrt((whitened * whitened).sum(1))


def fit_scales(
    request: Request,
    config: Config,
    features: Features,
    held_out: HeldOut,
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Shift and gain of every part of the score, as ``scale/<part>`` (2,) float32."""
    if config.normalisation == "sigmoid":
        scales = _search_sigmoids(request, config, features, tensors)
    else:
        scales = {"scale/patch": standard_scale(held_out.distance)}
        if held_out.text is not None:
            scales["scale/text"] = standard_scale(held_out.text)
    if held_out.statistics is not None:
        patches = _fused(config, held_out, scales)
        scales["scale/local"] = standard_scale(top_mean(patches, config.top_fraction))
        scales["scale/global"] = standard_scale(held_out.statistics)
    return scales


def _search_sigmoids(
    request: Request, config: Config, features: Features, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Search the centres on the first fold's images, which its memory has not seen."""
    fitted, held = next(request.folds.splits())
    memory = memory_of(fit(features, config, torch.from_numpy(fitted), request.seed))

    def measure(images: Images) -> tuple[Tensor, Tensor | None]:
        seen = extract(request.backbone, images, config, tensors, request.progress)
        distance = memory.distance(seen.patches).reshape(-1, *seen.grid)
        return distance, None if seen.text is None else seen.text.reshape(-1, *seen.grid)

    return sigmoid_scales(request.images[held], measure, config, request.seed)


def standard_scale(values: Tensor) -> Tensor:
    """(mean, 1 / deviation) of values of any shape."""
    wide = values.double()
    return torch.tensor([float(wide.mean()), 1.0 / max(float(wide.std()), 1e-6)])


def _fused(config: Config, held_out: HeldOut, scales: Mapping[str, Tensor]) -> Tensor:
    visual = normalise(held_out.distance, Scale.of(scales, "patch"), config)
    if held_out.text is None:
        return visual
    return fuse_maps(visual, normalise(held_out.text, Scale.of(scales, "text"), config), config)


def calibrate(
    request: Request,
    config: Config,
    grid: tuple[int, int],
    held_out: HeldOut,
    scales: Mapping[str, Tensor],
) -> Calibration:
    """Scores and map peaks of the held-out images, as the finished model would compute them."""
    patches = _fused(config, held_out, scales)
    score = top_mean(patches, config.top_fraction)
    if held_out.statistics is not None:
        score = Scale.of(scales, "local").apply(score)
        score = score + Scale.of(scales, "global").apply(held_out.statistics)
    recipe = request.backbone.recipe
    rows = torch.from_numpy(map_matrix(recipe.height, grid[0], config.smoothing))
    columns = torch.from_numpy(map_matrix(recipe.width, grid[1], config.smoothing))
    peaks = [float((rows @ one.reshape(grid) @ columns.T).max()) for one in patches]
    return Calibration(
        scheme=request.folds.scheme,
        folds=request.folds.count,
        scores=sorted(float(value) for value in score),
        map_peaks=sorted(peaks),
    )
