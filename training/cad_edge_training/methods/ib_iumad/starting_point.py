"""A first step's starting point, by what its images' features are like ("fitted").

From drawn weights most updates go into what is known beforehand: decoders have no residual around
their first attention, so each place must first learn to ask for itself among all others; and the
bottleneck must find the directions in which features lie. The architecture and the equations stay
as they are; this only says where learning begins (docs/decisions/0024-few-updates.md).

1. Decoders ask their own place: with positions p ~ N(0, `SPREAD`^2) and W_q = W_k = g I the logit
   of a place with itself is g^2 SPREAD^2 sqrt(d_head), `MARGIN` here; values pass unchanged.
2. The input's linear takes the leading principal directions of the features, each over the fourth
   root of its variance, which is half-way to whitening.
3. The bottleneck takes the leading principal directions of F_fu, scaled to a deviation of 1 and
   moved by `SHIFT`, so that the ReLU lets nearly all of them pass.
4. The last linear is the ridge regression of the features on what comes before it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cad_edge_training.methods.ib_iumad.fusion import Bottleneck
from cad_edge_training.methods.ib_iumad.network import Network
from cad_edge_training.methods.ib_iumad.reconstruction import Attention, ReconstructionNetwork

SPREAD, MARGIN, SHIFT, RIDGE = 2.0, 11.0, 2.0, 1e-3
DRAWN = 0.1  # of what was drawn stays, so that heads and layers differ
QUERY = 0.05  # of the drawn queries: the position alone says where to look
FRAMES = 128  # at most, that the regression looks at
_BATCH = 16


@torch.no_grad()
def fit_start(network: Network, tokens: Mapping[str, Tensor]) -> None:
    """Set weights before the first update; what is drawn comes from torch's generator.

    Parameters
    ----------
    network
        As drawn; left in inference mode.
    tokens
        (images, n, channels) float32 by modality, standardised, of good parts to learn from.
    """
    network.eval()
    for name, part in network.reconstructions.items():
        assert isinstance(part, ReconstructionNetwork)
        look_at_own_place(part)
        _take_directions(part.project_in, tokens[name].flatten(0, 1), root=4, shift=0)
    if network.fusion.kind == "cross_attention":
        network.fusion.attention.out.weight.mul_(DRAWN)
    chosen = torch.randperm(len(next(iter(tokens.values()))))[:FRAMES]
    shown = {name: one[chosen] for name, one in tokens.items()}
    fused = _fused(network, shown).flatten(0, 1)
    target = torch.cat([shown[name] for name in network.config.targets], dim=-1).flatten(0, 1)
    if isinstance(network.restore, Bottleneck):
        _take_directions(network.restore.down, fused, root=2, shift=SHIFT)
        regress(network.restore.up, torch.relu(network.restore.down(fused)), target)
    else:
        assert isinstance(network.restore, nn.Linear)
        regress(network.restore, fused, target)


@torch.no_grad()
def look_at_own_place(part: ReconstructionNetwork) -> None:
    """Let every decoder layer ask each place for itself, and let encoders change little."""
    nn.init.normal_(part.position, 0, SPREAD)
    encoder, decoder = part.layers()
    for encoding in encoder:
        encoding.attention.out.weight.mul_(DRAWN)
        encoding.feed_forward.down.weight.mul_(DRAWN)
    for decoding in decoder:
        decoding.query.mul_(QUERY)
        decoding.feed_forward.down.weight.mul_(DRAWN)
        _pass_own_place(decoding.of_memory)
        _pass_own_place(decoding.of_output)


def _pass_own_place(attention: Attention) -> None:
    width = attention.query.in_features
    gain = (MARGIN / (SPREAD**2 * (width / attention.heads) ** 0.5)) ** 0.5
    for linear, size in (
        (attention.query, gain),
        (attention.key, gain),
        (attention.value, 1.0),
        (attention.out, 1.0),
    ):
        linear.weight.mul_(DRAWN).add_(size * torch.eye(width))
        linear.bias.zero_()


def _take_directions(linear: nn.Linear, rows: Tensor, root: int, shift: float) -> None:
    """Give out the leading directions of ``rows``, each over that root of its variance.

    Outputs beyond the directions that there are stay as they were drawn.
    """
    mean, directions, variances = principal(rows, linear.out_features)
    weight = (directions / variances ** (1 / root)).T
    linear.weight[: len(weight)] = weight.float()
    linear.bias[: len(weight)] = (shift - weight @ mean).float()


def principal(rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Principal directions by falling variance.

    Parameters
    ----------
    rows
        (samples, d).
    count
        How many at most.

    Returns
    -------
    mean, directions, variances
        (d,), (d, k) and (k,) float64 with k = min(count, d); variances are at least a millionth of
        the largest.
    """
    given = rows.double()
    mean = given.mean(dim=0)
    centred = given - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(given))
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    return mean, vectors, values.clamp_min(1e-6 * float(values[0]) + 1e-12)


@torch.no_grad()
def regress(linear: nn.Linear, given: Tensor, target: Tensor) -> None:
    """Set a linear to the ridge regression of ``target`` (samples, out) on ``given`` (samples, in).

    The ridge is `RIDGE` of the mean variance of what is given.
    """
    x, y = given.double(), target.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x / len(x)
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram + ridge, x.T @ y / len(x)).T
    linear.weight.copy_(weight)
    linear.bias.copy_(y_mean - weight @ x_mean)


def _fused(network: Network, tokens: Mapping[str, Tensor]) -> Tensor:
    """F_fu (images, n, width) without noise."""
    found = []
    for index in torch.split(torch.arange(len(next(iter(tokens.values())))), _BATCH):
        some = {name: one[index] for name, one in tokens.items()}
        found.append(network(some, some).fused)
    return torch.cat(found)
