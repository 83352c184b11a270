"""The losses besides reconstruction (METHODS 5.2): classes, and the divergence of Eq. 8-10."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from cad_edge_training.methods.ib_iumad.network import COMPRESSED, FUSED


def divergence(fused: Tensor, compressed: Tensor) -> Tensor:
    """KL(P(Y | F_fu) || P(Y | F^g)), the mean over a batch.

    The first distribution is what the second is to become, and gets no gradient; both heads learn
    from classes, since two constant heads would have no divergence either.

    Parameters
    ----------
    fused, compressed
        Logits (batch, classes).
    """
    return functional.kl_div(
        functional.log_softmax(compressed, dim=1),
        functional.log_softmax(fused.detach(), dim=1),
        reduction="batchmean",
        log_target=True,
    )


def class_loss(logits: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """Cross-entropy of all heads, and the divergence where those behind the fusion are; weights 1.

    Parameters
    ----------
    logits
        (batch, classes) of each head, at least one.
    labels
        (batch,) int64.
    """
    loss = labels.new_zeros((), dtype=next(iter(logits.values())).dtype)
    for one in logits.values():
        loss = loss + functional.cross_entropy(one, labels)
    if FUSED in logits:
        loss = loss + divergence(logits[FUSED], logits[COMPRESSED])
    return loss
