"""Learning the experts of one task: cross-entropy of the answer, AdamW, a cosine.

Everything random is a function of the seeds and the number of a step, and an interrupted learning
goes on from its checkpoint to the same bits as one that was not, on the same machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cad_edge_training.methods.cl_anomaly.adapted_model import AdaptedModel
from cad_edge_training.methods.cl_anomaly.batches import Batches, rate_at
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.key_experts import KeyScores
from cad_edge_training.methods.cl_anomaly.questions import TrainingQuestions
from cad_edge_training.methods.cl_anomaly.session import Session
from cad_edge_training.methods.cl_anomaly.tower_tokens import ImageTokens
from cad_edge_training.methods.cl_anomaly.weight_sharing_copy import PREFIX

GRADIENT_NORM = 1.0  # longest gradient of all that is learned together
PROJECTOR_RATE = 2.0  # the released code learns the projector at twice the rate
SHARED_PATH = ("shared/", "router/")
MOMENTS = ("exp_avg", "exp_avg_sq")  # what AdamW remembers of a tensor, by torch's names


@dataclass(frozen=True)
class TrainingSet:
    """What a task is learned from."""

    tokens: ImageTokens
    labels: Tensor
    """(n,) int64, 1 for a defect."""
    batches: Batches


def train_experts(
    adapted: AdaptedModel,
    training_set: TrainingSet,
    config: Config,
    session: Session,
    scores: KeyScores,
) -> None:
    """Learn in place what ``adapted`` learns.

    Parameters
    ----------
    adapted
        Changed.
    training_set
        Images, labels and their order.
    config
        Options of the method.
    session
        Device, seeds and checkpoints.
    scores
        Told the weights of the shared experts in every step.
    """
    optimiser = _optimiser(adapted, config)
    lines = TrainingQuestions.of(adapted.base, config, training_set.tokens.views)
    steps = training_set.batches.steps
    first = _resume(adapted, optimiser, scores, session)
    adapted.gate.scores = scores
    for step in range(first, steps):
        _set_rate(optimiser, rate_at(step, steps, config.learning_rate, config.warm_up))
        with _seeded((*session.seeds, step, session.share.number), adapted.device):
            _gradients(adapted, training_set, lines, config, session, step)
        _step(adapted, optimiser, session)
        if (step + 1) % config.checkpoint_steps == 0:
            _save(adapted, optimiser, scores, session, step + 1)
        session.progress("experts", step + 1, steps)
    adapted.gate.scores = None


def _gradients(
    adapted: AdaptedModel,
    training_set: TrainingSet,
    lines: TrainingQuestions,
    config: Config,
    session: Session,
    step: int,
) -> None:
    """Add the gradients of this process's share of a batch, a micro-batch at a time."""
    question = lines.drawn((*session.seeds, step))
    mine = training_set.batches.at(step)[session.share.number :: session.share.of]
    for part in torch.split(mine, config.micro_batch):
        # Only the task's own expert is there, with its whole weight (METHODS 1.2).
        adapted.gate.mu = torch.ones(len(part), 1, device=adapted.device)
        labels = training_set.labels[part].to(adapted.device)
        loss = (
            lines.loss(adapted.base, question, training_set.tokens.at(part), labels) / config.batch
        )
        loss.backward()  # type: ignore[no-untyped-call]


def _step(adapted: AdaptedModel, optimiser: torch.optim.Optimizer, session: Session) -> None:
    """Change what is learned by the gradient of all processes."""
    weights = list(adapted.learned.values())
    if session.share.of > 1:
        flat = torch.cat([_gradient(weight).flatten() for weight in weights])
        parts = torch.split(session.sum(flat), [weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.reshape(weight.shape)
    torch.nn.utils.clip_grad_norm_(weights, GRADIENT_NORM)
    optimiser.step()
    optimiser.zero_grad()


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def _optimiser(adapted: AdaptedModel, config: Config) -> torch.optim.AdamW:
    groups = [
        {"params": [weight], "factor": _factor(name, config)}
        for name, weight in adapted.learned.items()
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=0.0)


def _factor(name: str, config: Config) -> float:
    """Return what the rate is times; a shared path that is alone has to learn everything."""
    if name.startswith(PREFIX):
        return PROJECTOR_RATE
    beside = name.startswith(SHARED_PATH) and config.composition.private
    return config.shared_rate if beside else 1.0


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


@contextmanager
def _seeded(seeds: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """Make what dropout draws a function of ``seeds``, and leave torch's own generators alone."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.default_rng(seeds).integers(2**62)))
        yield


def _save(
    adapted: AdaptedModel,
    optimiser: torch.optim.Optimizer,
    scores: KeyScores,
    session: Session,
    step: int,
) -> None:
    total = session.join_scores(scores)
    if not session.accelerator.is_main_process:
        return
    kept = {"scores/sums": total.sums, "scores/tokens": total.tokens}
    for name, weight in adapted.learned.items():
        kept[f"weight/{name}"] = weight
        kept |= {f"{moment}/{name}": optimiser.state[weight][moment] for moment in MOMENTS}
    session.checkpoints.save(step, kept)


def _resume(
    adapted: AdaptedModel, optimiser: torch.optim.Optimizer, scores: KeyScores, session: Session
) -> int:
    """Put everything where an interrupted training left it; return how many steps are done."""
    found = session.checkpoints.load()
    if found is None:
        return 0
    step, kept = found
    for name, weight in adapted.learned.items():
        with torch.no_grad():
            weight.copy_(kept[f"weight/{name}"])
        moments = {moment: kept[f"{moment}/{name}"].to(weight.device) for moment in MOMENTS}
        optimiser.state[weight] = {"step": torch.tensor(float(step)), **moments}
    # They are the sums of all processes; those of the others begin anew.
    if session.accelerator.is_main_process:
        scores.sums += kept["scores/sums"]
        scores.tokens += kept["scores/tokens"]
    return step
