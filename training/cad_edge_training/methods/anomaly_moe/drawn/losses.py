"""Losses of the three levels, and what makes them comparable before gates weigh them (Eq. 9)."""

import torch
from torch import Tensor
from torch.nn import functional

from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.drawn.component_expert import (
    error_of,
    reconstruct_components,
)
from cad_edge_training.methods.anomaly_moe.drawn.global_expert import (
    follow,
    is_pair,
    reconstruct_whole,
)
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.patch_expert import (
    group_distances,
    reconstruct_patches,
)
from cad_edge_training.methods.anomaly_moe.drawn.weights import Weights

EASY = 0.1  # what gradients of easy points are times, as released
RAW_SCALES = (1.0, 0.1, 0.1)  # of LEVELS, as released; the paper has none
COMPONENT_NOISE = 0.1
GLOBAL_NOISE = 0.2
KEPT = 0.9  # of a running mean, from update to update
SMALLEST = 1e-6  # loss that is divided by, should all parts be identical


def hard_count(points: int, easy: float) -> int:
    """How many points count in full: the share ``1 - easy``, at least one.

    Examples
    --------
    >>> hard_count(10, 0.9), hard_count(6272, 0.9)
    (1, 627)
    """
    # 10 * (1 - .9) is .9999999999999998.
    return max(int(points * (1 - easy) + 1e-9), 1)


def mined(distances: Tensor, easy: float) -> Tensor:
    """Return distances of any shape, the gradients of the easiest share times a tenth.

    The threshold is that of the whole batch, as released.
    """
    values = distances.detach()
    threshold = values.flatten().topk(hard_count(values.numel(), easy)).values[-1]
    return torch.where(values < threshold, EASY * distances + (1 - EASY) * values, distances)


def patch_loss(
    weights: Weights, features: Tensor, config: Config, layout: Layout
) -> tuple[Tensor, Tensor]:
    """Loss (n,) of images, the mean of 1 - cosine over groups and cells, with hard mining.

    As released the cosine is of whole maps, flattened; of cells it is what `patch_error` judges.
    Behind it the expert's mean feature (n, width), for independence.
    """
    maps, pooled = reconstruct_patches(weights, features, config, layout, config.noise)
    distances = mined(group_distances(maps, features, layout), config.hard_mining)
    return distances.mean(dim=(1, 2)), pooled


def component_loss(
    weights: Weights, pooled: Tensor, present: Tensor, layout: Layout
) -> tuple[Tensor, Tensor]:
    """Loss (n,), the mean error of components that are present; the mean of what is found of them.

    As released an empty component counts 1 and teaches nothing; here it does not count.
    """
    found = reconstruct_components(weights, pooled, COMPONENT_NOISE)
    error = error_of(found, pooled, present, layout)
    count = present.sum(dim=1).clamp(min=1)
    mean = (found * present[..., None]).sum(dim=1) / count[:, None]
    return error.sum(dim=1) / count, mean


def global_loss(weights: Weights, pixels: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Loss (n,), the mean square over channels and cells; the mean reconstruction (n, d).

    Eq. 8 has the sum instead of the mean, which no scale of the paper goes with. Of a pair the
    student's loss is added; it follows the detached autoencoder, which as released it pulls along.
    """
    grid = (features.shape[-2], features.shape[-1])
    found = reconstruct_whole(weights, pixels, grid, GLOBAL_NOISE)
    loss = (features - found).square().mean(dim=(1, 2, 3))
    if is_pair(weights):
        target = found.detach()
        loss = loss + (target - follow(weights, pixels, grid)).square().mean(dim=(1, 2, 3))
    return loss, found.mean(dim=(2, 3))


def constant_losses(features: Tensor, pooled: Tensor, present: Tensor, layout: Layout) -> Tensor:
    """Loss (3,) of each level's best constant predictor, so that loss / constant is 1 - R².

    Of a cosine that is the mean direction m of unit vectors, with loss 1 - |m|; of squares it is
    the mean, with the variance.

    Parameters
    ----------
    features
        (n, d, h, w), standardised, of all images of the step.
    pooled, present
        (n, K, d + geometry) and (n, K).
    """
    groups = torch.split(features, list(layout.channels), dim=1)
    patch = torch.stack([_one_direction(group.flatten(2).transpose(1, 2)) for group in groups])
    vectors = pooled[present > 0]
    component = _one_direction(vectors[:, : layout.features])
    if layout.geometry:
        component = component + vectors[:, layout.features :].var(dim=0, correction=0).mean()
    whole = features.var(dim=(0, 2, 3), correction=0).mean()
    return torch.stack([patch.mean(), component, whole]).clamp(min=SMALLEST)


def _one_direction(vectors: Tensor) -> Tensor:
    units = functional.normalize(vectors.reshape(-1, vectors.shape[-1]), dim=-1)
    distance: Tensor = 1 - torch.linalg.vector_norm(units.mean(dim=0))
    return distance


def gate_spread(gates: Tensor) -> Tensor:
    """Σ G log G of gates (n, N), the mean over images: what makes gates a softmin of the losses.

    Σ G L alone has its minimum with all weight on the smallest loss, however small the lead. With
    this term, which is ours, it has it at G = softmax(-L): with L = 1 - R² no level of three has
    less than exp(-1) / (2 + exp(-1)) = .155, and a gate says how well a level explains an image.
    """
    chosen = gates[gates > 0]
    return (chosen * chosen.log()).sum() / len(gates)


class LevelScales:
    """What losses are multiplied by before gates weigh them.

    The router's gradient of an expert is G (L - Σ G L): it rises where a loss is *small*, so that
    with unlike units the unit chooses the level. Losses are therefore divided by that of the
    level's constant predictor, which makes each of them 1 - R².

    Parameters
    ----------
    constants
        (3,), from `constant_losses`.
    raw
        As the paper has it: no division, and the released scales.
    """

    def __init__(self, constants: Tensor, raw: bool) -> None:
        self._constants: list[float] = constants.tolist()
        self._raw = raw
        self.unexplained: dict[str, float] = {}
        """Running mean of 1 - R² by level, of levels that were chosen."""

    def observe(self, level: int, losses: Tensor) -> None:
        """Take in the losses (m,) of a level's chosen experts, before they are scaled."""
        value = losses.detach().mean().item() / self._constants[level]
        before = self.unexplained.get(LEVELS[level], value)
        self.unexplained[LEVELS[level]] = KEPT * before + (1 - KEPT) * value

    def of(self, level: int) -> float:
        """Scale of a level."""
        return RAW_SCALES[level] if self._raw else 1 / self._constants[level]
