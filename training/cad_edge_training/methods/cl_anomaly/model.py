"""CL-Anomaly as the paper writes it: one frame through tower, gate and language model to a score.

    F     = tower(image)                                 (n_tokens, vision_width)
    mu    = softmax(cos(mean F, a_t) / tau)              Eq. 4, or one task alone
    h     = LLM(prompt, projector(F); experts, mu)       Eq. 2 and 5-7, at the last position
    score = log sum exp of Yes - log sum exp of No       a margin in place of the generated word

Several views of a sample are as many images in the prompt, and F is the tokens of all of them. The
prompt forces one word, so that its first token decides as generation would, and the margin
orders frames besides (METHODS 1.4). There is no map.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.anchors import gate_weights, similarities
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.experts import Mixture, attach, experts_at
from cad_edge_training.methods.cl_anomaly.questions import Question, decision, read
from cad_edge_training.methods.cl_anomaly.sites import sites_of
from cad_edge_training.methods.cl_anomaly.weight_sharing_copy import (
    PREFIX,
    own_projector,
    weight_sharing_copy,
)

TOKENS = "held_out/tokens"
"""Name of a task's held-out good parts, (n, [views,] n_tokens, vision_width) float16; no part of a
model."""


class CLAnomaly(nn.Module):
    """One of the tasks with shared weights on their frozen base model."""

    def __init__(self, base: LlavaBase, config: Config, tensors: Mapping[str, Tensor]) -> None:
        """Assemble.

        Parameters
        ----------
        base
            Stays as it is; its weights are shared.
        config
            Options that all tasks were learned with.
        tensors
            `LearnedTask.model_tensors`: the newest shared weights, ``task/000k/...`` of every task,
            and ``sharing_tasks/index``.
        """
        super().__init__()
        self.base, self.config = weight_sharing_copy(base), config
        tasks = tasks_in(tensors)
        self.anchors = torch.stack([task["anchor"] for task in tasks])
        self.index = int(tensors["sharing_tasks/index"])
        own_projector(
            self.base, {name: value for name, value in tensors.items() if name.startswith(PREFIX)}
        )
        sites, parts = sites_of(base.language), config.composition
        mixture = Mixture(config.scale, parts.private, parts.shared)
        self.gate = attach(self.base.language, sites, experts_at(sites, tasks, tensors), mixture)
        self.question = Question.of(self.base, config.question)

    @staticmethod
    def of(
        base: LlavaBase, config: Config, tensors: Tensors, device: torch.device | None = None
    ) -> "CLAnomaly":
        """Assemble from arrays, on a device or where the base is."""
        used = {
            name: torch.from_numpy(np.array(value)).to(device)
            for name, value in tensors.items()
            if TOKENS not in name
        }
        return CLAnomaly(weight_sharing_copy(base, device), config, used).eval()

    def forward(self, image: Tensor) -> tuple[Tensor, None]:
        """Score.

        Parameters
        ----------
        image
            (batch, [views,] height, width, 3) uint8 RGB at the recipe's size.

        Returns
        -------
        tuple
            score (batch,) float32, the log odds of Yes; and None, since nothing is located.
        """
        return self.from_tokens(self.raw(image)), None

    def raw(self, image: Tensor) -> Tensor:
        """Tower tokens (batch, [views,] n_tokens, vision_width) float32 of an image."""
        return self.base.look(image)

    def from_tokens(self, raw: Tensor) -> Tensor:
        """Score (batch,) float32 of tower tokens (batch, [views,] n_tokens, vision_width)."""
        return self.with_gate(raw)[0]

    def with_gate(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Score (batch,), and the weights mu (batch, n_tasks) of the tasks' experts.

        Parameters
        ----------
        raw
            (batch, [views,] n_tokens, vision_width) float32, from `raw`.
        """
        mu = self.choose(raw)
        hidden = read(self.base, self.question.around(self.base.image_tokens(raw)))
        return decision(self.base, hidden[:, -1]), mu

    def choose(self, raw: Tensor) -> Tensor:
        """Let the experts weigh what they should for these images, until others are chosen for.

        Parameters
        ----------
        raw
            (batch, [views,] n_tokens, vision_width) float32, from `raw`.

        Returns
        -------
        Tensor
            mu (batch, n_tasks).
        """
        mu = gate_weights(
            similarities(raw, self.anchors), self.config.routing, self.config.tau, self.index
        )
        self.gate.mu = mu
        return mu


def tasks_in(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return what every task owns, in stream order."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("task/"):
            _, number, own = name.split("/", 2)
            found.setdefault(number, {})[own] = value
    return [found[number] for number in sorted(found)]
