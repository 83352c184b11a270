"""The router of fitted experts: a linear discriminant on the entry's descriptor, for each level."""

import torch
from torch import Tensor

from cad_edge_training.methods.anomaly_moe.config import LEVELS
from cad_edge_training.methods.anomaly_moe.fitted import Weights

SHRINKAGE = 0.1  # of the covariance within experts: share of the mean variance added
NEVER = -1e9  # logit of an expert that a level does not have
LEAST_WEIGHT = 1e-6  # of a level that explains nothing; its logarithm stays finite


def fit_discriminant(descriptors: Tensor, chosen: Tensor, experts: int) -> dict[str, Tensor]:
    """Fit log p(expert | descriptor) up to what all experts share.

    Parameters
    ----------
    descriptors
        (n, D) float32.
    chosen
        (n,) int64, expert of each.
    experts
        How many there are; one that no image chose gets `NEVER` as its bias.

    Returns
    -------
    dict
        ``matrix`` (D, experts) and ``bias`` (experts,) float32, with equal priors.
    """
    wide = descriptors.double()
    present = [expert for expert in range(experts) if bool((chosen == expert).any())]
    means = torch.stack([wide[chosen == expert].mean(0) for expert in present])
    own = torch.tensor([present.index(expert) for expert in chosen.tolist()])
    centred = wide - means[own]
    covariance = centred.T @ centred / len(wide)
    added = SHRINKAGE * covariance.diagonal().mean().clamp_min(1e-12)
    covariance += added * torch.eye(len(covariance), dtype=torch.float64)
    solved = torch.linalg.solve(covariance, means.T)
    matrix = torch.zeros(wide.shape[1], experts)
    bias = torch.full((experts,), NEVER)
    matrix[:, present] = solved.float()
    bias[present] = (-0.5 * (means * solved.T).sum(1)).float()
    return {"matrix": matrix, "bias": bias}


def log_probabilities(router: Weights, descriptors: Tensor) -> Tensor:
    """Logarithm (n, levels * experts) of the probability of each expert among those of its level.

    ``router`` holds ``<level>/matrix`` and ``/bias``, ``descriptors`` are (n, D).
    """
    found = []
    for level in LEVELS:
        scores = descriptors @ router[f"{level}/matrix"] + router[f"{level}/bias"]
        # Written out, since engines have no operator for the logarithm of a softmax.
        shifted = scores - scores.amax(dim=1, keepdim=True)
        found.append(shifted - shifted.exp().sum(dim=1, keepdim=True).log())
    return torch.cat(found, dim=1)


def log_weight(explained: float) -> float:
    """Logarithm of explained over unexplained variance, R^2 / (1 - R^2), of held-out parts.

    The patch level, which has no constant predictor to beat, stands at 0: it weighs as much as a
    level that explains half.
    """
    clipped = min(max(explained, 0.0), 0.99)
    return float(torch.tensor(max(clipped / (1 - clipped), LEAST_WEIGHT)).log())
