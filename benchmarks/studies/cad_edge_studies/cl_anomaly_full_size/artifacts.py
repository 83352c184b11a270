"""Tasks that nobody learned: drawn experts of the right shapes, and real routing statistics."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from cad_edge.calibration import Calibration
from cad_edge.routing import SAMPLES, RoutingStatistics, summarise
from cad_edge.store.artifact import Artifact, Provenance, Tensors, write_artifact
from cad_edge_studies.cl_anomaly_full_size.base_model import Dimensions
from cad_edge_studies.procedural_rgbd_line.parts import PARTS
from cad_edge_studies.procedural_rgbd_line.scenes import render

if TYPE_CHECKING:
    from cad_edge_training.backbones.llava import LlavaBase
    from cad_edge_training.methods.cl_anomaly.config import Config

Frames = npt.NDArray[np.uint8]

RATE = 0.2
_SEEN = 5  # images whose descriptors are computed; those of the rest are drawn around them
_GOOD = 10  # images in a folder of good parts
_SPREAD = 2.0  # deviations of what is drawn, in those of the images seen
_DEVIATION = 0.01  # of drawn weights


def pictures(task: int, side: int, count: int, seed: int) -> Frames:
    """Images (count, side, side, 3) uint8 of a product: parts of the procedural line.

    They vary as parts do, so that scores differ by more than what eight bits round away.
    """
    name = list(PARTS)[task % len(PARTS)]
    return np.stack([render(name, (seed, task, number), None, side).rgb for number in range(count)])


def write_stream(path: Path, dimensions: Dimensions) -> None:
    """Write a stream file, and beside it some good parts of every task as images."""
    for place, name in enumerate(dimensions.names):
        folder = path.parent / "products" / name / "train" / "good"
        folder.mkdir(parents=True, exist_ok=True)
        for number, shown in enumerate(pictures(place, dimensions.side, _GOOD, seed=2)):
            Image.fromarray(shown).save(folder / f"{number:02d}.png")
    tasks = [{"name": name, "path": f"products/{name}"} for name in dimensions.names]
    stream = {"name": "sizes", "false_reject_rate": RATE, "tasks": tasks}
    path.write_text(json.dumps(stream, indent=1), encoding="utf-8")


def write_tasks(folder: Path, base: "LlavaBase", config: "Config", names: tuple[str, ...]) -> None:
    """Write an artifact for every name that has none."""
    for place, name in enumerate(names):
        if (folder / name).exists():
            continue
        seen = pictures(place, base.recipe.height, _SEEN, seed=0)
        tensors, generation = _drawn_experts(base, config, place)
        tensors |= _of_tower(base, seen)
        routing = _routing(base, config, seen, place).to_tensors()
        witness = _witness(base.recipe.height, place)
        record = _record(base, config, place, name)
        write_artifact(folder, record, tensors, routing, witness, generation)


def _witness(side: int, place: int) -> Tensors:
    """Noise, whose score is not the threshold's as that of the one held-out image would be.

    What torch said when the task was learned nobody knows, so that the drift says nothing.
    """
    rng = np.random.default_rng([place, side])
    noise = rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    return {"image": noise, "score": np.zeros(1, np.float32)}


def _record(base: "LlavaBase", config: "Config", place: int, name: str) -> Artifact:
    return Artifact(
        method="cl_anomaly",
        task=name,
        position=place,
        backbone=base.identity,
        recipe=base.recipe,
        hyperparameters=config.model_dump(mode="json"),
        calibration=Calibration(scheme="split", folds=1, scores=[0.0], map_peaks=[]),
        false_reject_rate=RATE,
        provenance=Provenance(
            seed=0, versions={}, data_sha256="0" * 64, images=SAMPLES, seconds=0.0
        ),
    )


def _drawn_experts(base: "LlavaBase", config: "Config", place: int) -> tuple[Tensors, Tensors]:
    """Draw the expert of a task, and what all share after it, no weight of them zero."""
    from cad_edge_training.methods.cl_anomaly.experts import new_private, new_shared
    from cad_edge_training.methods.cl_anomaly.sites import sites_of

    rng, parts = np.random.default_rng(place), config.composition
    sites = sites_of(base.language)

    def drawn(like: Tensors) -> Tensors:
        return {
            name: np.asarray(rng.normal(0, _DEVIATION, value.shape), np.float32)
            for name, value in like.items()
        }

    own = drawn(new_private(sites, parts.rank, rng))
    generation = drawn(new_shared(sites, parts.experts, parts.rank, rng))
    return own, generation | {"stage": np.array(place + 1, dtype=np.int64)}


def _of_tower(base: "LlavaBase", images: Frames) -> Tensors:
    """Anchor and held-out tokens of images."""
    from cad_edge_training.methods.cl_anomaly.held_out import tokens_to_keep
    from cad_edge_training.methods.cl_anomaly.model import TOKENS

    tokens = tokens_to_keep(base, images)
    anchor = np.asarray(tokens.mean(axis=(0, 1), dtype=np.float64), np.float32)
    return {TOKENS: tokens, "anchor": anchor}


def _routing(base: "LlavaBase", config: "Config", seen: Frames, place: int) -> RoutingStatistics:
    """Return statistics of as many images as a task keeps descriptors of."""
    from cad_edge_training.folds import draw_folds
    from cad_edge_training.routing_statistics import routing_statistics

    folds = draw_folds(len(seen), RATE, 0)
    real = routing_statistics(base, seen, folds, config, 0)
    deviation = np.sqrt(np.diag(real.scatter) / (real.count - 1))
    rng = np.random.default_rng(place)
    drawn = rng.normal(real.mean, _SPREAD * deviation, (SAMPLES, len(real.mean)))
    return summarise(drawn, real.keys, real.key_distances)
