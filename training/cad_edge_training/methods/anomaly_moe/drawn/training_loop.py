"""Learning experts and router of a step together (paper Eq. 9)."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cad_edge.errors import CadEdgeError
from cad_edge_training.learned import Progress
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.discriminant import NEVER
from cad_edge_training.methods.anomaly_moe.drawn.balance import balance_loss, load
from cad_edge_training.methods.anomaly_moe.drawn.experts import draw_experts, expert
from cad_edge_training.methods.anomaly_moe.drawn.independence import Independence
from cad_edge_training.methods.anomaly_moe.drawn.losses import (
    LevelScales,
    component_loss,
    constant_losses,
    gate_spread,
    global_loss,
    patch_loss,
)
from cad_edge_training.methods.anomaly_moe.drawn.optimiser import StableAdamW
from cad_edge_training.methods.anomaly_moe.drawn.router import draw_router, route
from cad_edge_training.methods.anomaly_moe.drawn.training_data import (
    DrawnExperts,
    TrainingData,
    TrainingRecord,
)
from cad_edge_training.methods.anomaly_moe.gates import gates, level_gates

LAST_RATE = 0.01  # of the learning rate


def train_experts(
    data: TrainingData, config: Config, seed: int, progress: Progress
) -> DrawnExperts:
    """Draw experts and router, and learn them for `config.steps` updates.

    Only chosen experts compute, unlike as released, where all do and most gates are 0. Equal
    arguments give equal results; torch's own generator is left alone.

    Parameters
    ----------
    data
        Good images of the step's products, at least one.
    config
        Options.
    seed
        Of weights, batches and dropout.
    progress
        Told after every update.

    Raises
    ------
    CadEdgeError
        A loss or gradient is not a number.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        training = Training(data, config, torch.Generator().manual_seed(seed))
        for update, index in enumerate(_batches(len(data), config)):
            training.update(update, index.to(data.features.device))
            progress("experts", update + 1, config.steps)
    return training.result()


def rate_at(update: int, config: Config) -> float:
    """Learning rate of an update: a rising line, then half a cosine down to a hundredth."""
    if update < config.warm_up:
        return config.learning_rate * (update + 1) / config.warm_up
    done = (update - config.warm_up) / max(config.steps - 1 - config.warm_up, 1)
    share = (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return config.learning_rate * (LAST_RATE + (1 - LAST_RATE) * share)


def _batches(images: int, config: Config) -> Iterator[Tensor]:
    done = 0
    while done < config.steps:
        for index in torch.split(torch.randperm(images), config.batch)[: config.steps - done]:
            yield index
            done += 1


class Training:
    """State of a run: what is learned, and what is known of it so far."""

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        self.data, self.config = data, config
        layout, device = data.layout, data.features.device
        drawn = draw_experts(config, layout, generator)
        self.weights = {key: one.to(device).requires_grad_() for key, one in drawn.items()}
        drawn = draw_router(config, layout, generator)
        self.router = {key: one.to(device).requires_grad_() for key, one in drawn.items()}
        self.learned = [*self.weights.values(), *self.router.values()]
        self.optimiser = StableAdamW(self.learned, config.learning_rate, config.weight_decay)
        self.experts = [
            expert(self.weights, place, config) for place in range(len(LEVELS) * config.experts)
        ]
        asked = [level in config.levels for level in LEVELS for _ in range(config.experts)]
        self.asked = torch.tensor(asked, device=device)
        self.pooled, self.present = data.components()
        constants = constant_losses(data.features, self.pooled, self.present, layout)
        self.scales = LevelScales(constants, config.raw_losses)
        widths = (config.width, layout.features + layout.geometry, layout.features)
        self.independence = Independence(widths, config.experts, generator, device)

    def update(self, update: int, index: Tensor) -> None:
        """Learn from one batch of images (m,) int64."""
        logits = route(self.router, self.data.descriptors[index])
        weights = gates(logits.masked_fill(~self.asked, NEVER), self.config)
        loss, seen = self._mixture(weights, index)
        if not self.config.raw_losses:
            loss = loss + gate_spread(weights)
        loss = loss + self.config.balance * balance_loss(logits[:, self.asked])
        if self.config.independence:
            bound = self.independence.loss(seen)
            loss = loss if bound is None else loss + self.config.independence * bound
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.learned, self.config.clip)
        if not bool(torch.isfinite(loss.detach() + norm)):
            raise CadEdgeError(
                f"experts cannot be learned: at update {update + 1} of {self.config.steps} the "
                f"loss is not a number; try a learning_rate below {self.config.learning_rate:g}"
            )
        self.optimiser.rate = rate_at(update, self.config)
        self.optimiser.step()

    def _mixture(
        self, weights: Tensor, index: Tensor
    ) -> tuple[Tensor, list[dict[int, tuple[Tensor, Tensor]]]]:
        """Eq. 9 over the chosen experts: Σ G L, the mean over images; and what experts saw."""
        total = weights.new_zeros(())
        seen: list[dict[int, tuple[Tensor, Tensor]]] = []
        for level in range(len(LEVELS)):
            seen.append({})
            terms, losses = [], []
            for number in range(self.config.experts):
                place = level * self.config.experts + number
                rows = weights[:, place].nonzero().flatten()
                if len(rows):
                    loss, feature = self._loss(level, place, index[rows])
                    terms.append((weights[rows, place] * loss).sum())
                    losses.append(loss)
                    seen[level][number] = (rows, feature)
            if terms:
                self.scales.observe(level, torch.cat(losses))
                total = total + self.scales.of(level) * torch.stack(terms).sum()
        return total / len(index), seen

    def _loss(self, level: int, place: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (m,) and features (m, width) of one expert for images (m,) int64."""
        own, layout = self.experts[place], self.data.layout
        if LEVELS[level] == "patch":
            return patch_loss(own, self.data.features[index], self.config, layout)
        if LEVELS[level] == "component":
            return component_loss(own, self.pooled[index], self.present[index], layout)
        return global_loss(own, self.data.pixels_of(index), self.data.features[index])

    @torch.no_grad()
    def result(self) -> DrawnExperts:
        """Return what was learned."""
        logits = route(self.router, self.data.descriptors).masked_fill(~self.asked, NEVER)
        found = gates(logits, self.config)
        levels = level_gates(found).mean(dim=0).tolist()
        names = [f"{level}.{n}" for level in LEVELS for n in range(self.config.experts)]
        record = TrainingRecord(
            mean_gates=dict(zip(LEVELS, levels, strict=True)),
            unexplained=dict(self.scales.unexplained),
            images=dict(zip(names, (found > 0).sum(dim=0).tolist(), strict=True)),
            load=load(found),
        )
        return DrawnExperts(
            weights={name: value.detach() for name, value in self.weights.items()},
            router={name: value.detach() for name, value in self.router.items()},
            record=record,
        )
