"""Expert independence: little mutual information between the features of experts (EIR)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from cad_edge_training.methods.anomaly_moe.drawn.weights import Weights, draw_by_inputs, linear

RATE = 1e-3  # of the estimators' own Adam


def draw_estimator(width: int, experts: int, generator: Generator) -> dict[str, Tensor]:
    """Draw q(y | x, j, k) of one level, with width→width/2→width for mean and log-variance.

    As released one q serves every pair and both directions without knowing which, which bounds the
    information of none; here embeddings of both experts are added to its input.
    """
    found: dict[str, Tensor] = {}
    for name in ("mean", "log_variance"):
        found |= draw_by_inputs(f"{name}.0", width, max(width // 2, 1), generator)
        found |= draw_by_inputs(f"{name}.1", max(width // 2, 1), width, generator)
    for name in ("given", "asked"):
        found[name] = torch.empty(experts, width).normal_(std=0.02, generator=generator)
    return found


def predicted(q: Weights, given: Tensor, pair: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean and log-variance in (-1, 1) of y, both (n, width), from x (n, width) of a pair."""
    known = given + q["given"][pair[0]] + q["asked"][pair[1]]

    def perceptron(name: str) -> Tensor:
        return linear(q, f"{name}.1", functional.relu(linear(q, f"{name}.0", known)))

    return perceptron("mean"), perceptron("log_variance").tanh()


def log_likelihood(mean: Tensor, log_variance: Tensor, asked: Tensor) -> Tensor:
    """Mean over images of Σ (-(μ - y)² / variance - log-variance) / 2, without the constant.

    As released the last term is missing, so that the log-variance drifts to its upper end.
    """
    error = (mean - asked).square() / log_variance.exp()
    return -(error + log_variance).sum(dim=-1).mean() / 2


def club(mean: Tensor, log_variance: Tensor, asked: Tensor, shift: int) -> Tensor:
    """Upper bound of mutual information: log q of matched pairs minus that of others (CLUB).

    Others are the next images by a cyclic shift; a random permutation, as released, keeps places.

    Parameters
    ----------
    mean, log_variance
        (n, width), from `predicted`.
    asked
        (n, width), the other expert's features of the same images.
    shift
        From 1 to n - 1.
    """
    variance = log_variance.exp()
    matched = (mean - asked).square() / variance
    other = (mean - asked.roll(shift, dims=0)).square() / variance
    return (other - matched).sum(dim=-1).mean() / 2


FrozenFeatures = Mapping[int, tuple[Tensor, Tensor]]
"""By expert of a level: images (m,) int64, ascending, and its mean features (m, width) of them."""


def shared_pairs(seen: FrozenFeatures) -> list[tuple[tuple[int, int], Tensor, Tensor]]:
    """Both directions of all pairs that saw at least two images together.

    Returns
    -------
    list
        Numbers (j, k), and the LayerNorm'd features (n, width) of both for those images.
    """
    found = []
    for one in sorted(seen):
        for other in sorted(seen):
            mine, yours = seen[one], seen[other]
            both = torch.isin(mine[0], yours[0])
            if one != other and int(both.sum()) >= 2:
                theirs = yours[1][torch.isin(yours[0], mine[0])]
                found.append(((one, other), _normed(mine[1][both]), _normed(theirs)))
    return found


def _normed(features: Tensor) -> Tensor:
    return functional.layer_norm(features, (features.shape[-1],))


class Independence:
    """The estimators of all levels, and their optimiser."""

    def __init__(
        self, widths: tuple[int, ...], experts: int, generator: Generator, device: torch.device
    ) -> None:
        drawn = [draw_estimator(width, experts, generator) for width in widths]
        self.estimators = [
            {name: value.to(device).requires_grad_() for name, value in one.items()}
            for one in drawn
        ]
        values = [value for one in self.estimators for value in one.values()]
        self._optimiser = torch.optim.Adam(values, lr=RATE)

    def loss(self, seen: Sequence[FrozenFeatures]) -> Tensor | None:
        """Learn the estimators from detached features; then the mean bound over pairs of a level.

        Experts of different levels are no pairs. In sparse training pairs are few, and none with
        `routing="per_level"`: None is then returned. As released all experts run on every image,
        and one random pair of patch and of global experts is looked at in a second pass.
        """
        pairs = [
            (q, *one)
            for q, of in zip(self.estimators, seen, strict=True)
            for one in shared_pairs(of)
        ]
        if not pairs:
            return None
        bounds = []
        self._optimiser.zero_grad()
        for q, pair, given, asked in pairs:
            (-log_likelihood(*predicted(q, given.detach(), pair), asked.detach())).backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        for q, pair, given, asked in pairs:
            frozen = {name: value.detach() for name, value in q.items()}
            shift = int(torch.randint(1, len(given), ()))
            bounds.append(club(*predicted(frozen, given, pair), asked, shift))
        return torch.stack(bounds).mean()
