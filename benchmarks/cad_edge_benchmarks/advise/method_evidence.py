"""What a method makes of a product's held-out good parts, learned from the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cad_edge import __version__
from cad_edge.data.image import decode_image
from cad_edge.data.stream import Stream, StreamTask
from cad_edge.schema import sha256_of
from cad_edge_benchmarks.advise.accuracy import (
    Scores,
    draw_weights,
    drawn_auroc,
    drawn_found,
    spread,
)
from cad_edge_benchmarks.advise.held_out_parts import KINDS
from cad_edge_benchmarks.advise.trials import LearningOptions
from cad_edge_benchmarks.advise.validation_split import SplitImage

if TYPE_CHECKING:
    from cad_edge.store.artifact import LearnedTask
    from cad_edge_training.method import Suitability

_KEY = 16  # hexadecimal digits of a folder's name


@dataclass(frozen=True)
class HeldOutParts:
    """A product: what it is learned from, and held-out parts with synthetic defects."""

    task: StreamTask
    learned: int
    """Good parts that it is learned from."""
    images: tuple[SplitImage, ...]
    """Held-out parts, each followed by its copies."""
    rate: float
    """Stated false-reject rate, in (0, 1)."""
    sha256: str
    """Of the images that the product has."""

    @property
    def good(self) -> NDArray[np.bool_]:
        """(n,) bool, True for a part without a defect."""
        return np.array([not one.image.anomalous for one in self.images], dtype=np.bool_)

    def of_kind(self, kind: str) -> NDArray[np.bool_]:
        """(n,) bool, True for parts without a defect and those with one of ``kind``."""
        found = [one.image.label == kind for one in self.images]
        return self.good | np.array(found, dtype=np.bool_)


@dataclass(frozen=True)
class MethodEvidence:
    """Figures of one method on one product; draws are those of a bootstrap over parts."""

    found: Mapping[str, float]
    """Share of synthetic defects above the threshold that the stated rate allows, by kind."""
    auroc: Mapping[str, float]
    """Of held-out parts against those with a defect of a kind."""
    found_draws: Scores
    """(draws,) mean of ``found`` over kinds."""
    auroc_draws: Scores
    """(draws,) mean of ``auroc`` over kinds."""
    suitability: "Suitability | None"
    """What the method itself says of the product."""

    @property
    def mean_found(self) -> float:
        """Mean over kinds."""
        return sum(self.found.values()) / len(self.found)

    @property
    def mean_auroc(self) -> float:
        """Mean over kinds."""
        return sum(self.auroc.values()) / len(self.auroc)

    @property
    def error(self) -> float:
        """Standard error of `mean_found`."""
        return spread(self.found_draws)


def gather(parts: HeldOutParts, work: Path, options: LearningOptions) -> MethodEvidence:
    """Learn a product by a method, unless ``work`` has it, and score its held-out parts.

    The reference model of the method scores; no engine is made and no product is recognised.

    Raises
    ------
    CadEdgeError
        The product cannot be learned, or an image cannot be read.
    """
    from cad_edge_training.method import StatesSuitability
    from cad_edge_training.methods import load_method

    task = _learned(parts, work, options)
    method = load_method(options.method)
    said = None
    if isinstance(method, StatesSuitability):
        said = method.suitability(task.model_tensors())
    return figures(parts, _scores(task, parts.images, options), options.seed, said)


def figures(
    parts: HeldOutParts, scores: Scores, seed: int, suitability: "Suitability | None" = None
) -> MethodEvidence:
    """Turn scores (n,) of a product's held-out parts into figures.

    ``seed`` is that of the draws: methods are compared on equal ones.
    """
    origins = [one.origin for one in parts.images]
    weights = draw_weights(origins, ~parts.good, seed)
    once = np.ones((1, len(scores)), dtype=np.int64)
    found, auroc = {}, {}
    drawn: dict[str, list[Scores]] = {"found": [], "auroc": []}
    for kind in KINDS:
        used = parts.of_kind(kind)
        values, bad = scores[used], ~parts.good[used]
        found[kind] = float(drawn_found(values, bad, once[:, used], parts.rate)[0])
        auroc[kind] = float(drawn_auroc(values, bad, once[:, used])[0])
        drawn["found"].append(drawn_found(values, bad, weights[:, used], parts.rate))
        drawn["auroc"].append(drawn_auroc(values, bad, weights[:, used]))
    means = {name: np.mean(draws, axis=0) for name, draws in drawn.items()}
    return MethodEvidence(found, auroc, means["found"], means["auroc"], suitability)


def _learned(parts: HeldOutParts, work: Path, options: LearningOptions) -> "LearnedTask":
    """Read the artifact of a product, which is learned where it is not there yet."""
    from cad_edge_export.missing_tasks import read_all
    from cad_edge_training import learn

    known = (__version__, parts.sha256, options.method, options.backbone, options.seed, parts.rate)
    out = work / "learned" / sha256_of(repr(known).encode())[:_KEY]
    stream = Stream(name="held out", false_reject_rate=parts.rate, tasks=[parts.task])
    learn(stream, out, options.method, options.backbone, seed=options.seed)
    return read_all([out / parts.task.name])[0]


def _scores(task: "LearnedTask", images: Sequence[SplitImage], options: LearningOptions) -> Scores:
    """Scores (n,) float64 of images by the reference model."""
    import torch

    from cad_edge_export.certificate import reference_model
    from cad_edge_training.backbones import load_backbone

    recipe = task.artifact.recipe
    model = reference_model(task, load_backbone(options.backbone, recipe.width))
    found = []
    with torch.inference_mode():
        for one in images:
            frame = recipe.apply(decode_image(one.image.path))
            score, *_ = model(torch.from_numpy(np.array(frame)[None]))
            found.append(float(score[0]))
    return np.array(found)
