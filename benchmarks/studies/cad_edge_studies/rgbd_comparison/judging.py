"""What a family says of test parts, by the newest generation and by those before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cad_edge.calibration import decide
from cad_edge.data.image import decode_mask, image_size
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import Stream
from cad_edge.store.artifact import LearnedTask, read_artifact, with_sharing_tasks
from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_benchmarks.instruments.pixels import PixelMetrics, PixelScores
from cad_edge_benchmarks.reporting.progress import quiet

if TYPE_CHECKING:
    from cad_edge_training.backbones import Backbone
    from cad_edge_training.methods.ib_iumad.config import Config
    from cad_edge_training.methods.ib_iumad.frozen import FrozenFeatures
    from cad_edge_training.methods.ib_iumad.model import IBIUMAD

Scores = npt.NDArray[np.float64]
_BATCH = 16


@dataclass(frozen=True)
class Shown:
    """Test parts of one product, as the frozen backbone sees them."""

    seen: "FrozenFeatures"
    anomalous: npt.NDArray[np.bool_]
    """(n,)."""
    masks: list[npt.NDArray[np.bool_] | None]
    """(height, width) each at the backbone's size, None for good parts."""


class ShownParts:
    """Test parts of a stream, seen once for every modality."""

    def __init__(self, stream: Stream, backbone: "Backbone") -> None:
        self._tasks = {task.name: task for task in stream.tasks}
        self._backbone = backbone
        self._shown: dict[tuple[str, tuple[str, ...]], Shown] = {}

    def of(self, task: LearnedTask, config: "Config") -> Shown:
        """Test parts of a task, seen with the range of depth that it was learned with."""
        key = (task.artifact.task, config.modalities)
        if key not in self._shown:
            self._shown[key] = self._look(task, config)
        return self._shown[key]

    def _look(self, task: LearnedTask, config: "Config") -> Shown:
        import torch

        from cad_edge_training.images import read_images, read_planes
        from cad_edge_training.methods.ib_iumad.frozen import look_at_all
        from cad_edge_training.methods.ib_iumad.model import DEPTH_RANGE

        items = self._tasks[task.artifact.task].images().test
        paths, recipe = [item.path for item in items], self._backbone.recipe
        images = read_images(paths, recipe, quiet)
        depths = None
        if "depth" in config.modalities:
            planes = [item.depth for item in items if item.depth is not None]
            depths = read_planes(planes, paths, recipe, quiet)
        bound = task.tensors.get(DEPTH_RANGE)
        seen = look_at_all(
            self._backbone,
            config,
            images,
            depths,
            None if bound is None else torch.from_numpy(bound),
        )
        masks = [_mask(item, recipe.height) for item in items]
        return Shown(seen, np.array([item.anomalous for item in items]), masks)


def _mask(item: LabelledImage, side: int) -> npt.NDArray[np.bool_] | None:
    """Mask at the backbone's size."""
    from PIL import Image

    if item.mask is None:
        return None
    mask = Image.fromarray(decode_mask(item.mask, image_size(item.path)))
    return np.asarray(mask.resize((side, side), Image.Resampling.NEAREST), dtype=np.bool_)


@dataclass(frozen=True)
class Judged:
    """What is said of the test parts of one product."""

    scores: Scores
    maps: npt.NDArray[np.float32]

    def false_rejects(self, shown: Shown, threshold: float) -> float:
        """Share of good parts above a threshold."""
        return float((self.scores[~shown.anomalous] > threshold).mean())

    def pixels(self, shown: Shown) -> PixelMetrics:
        """Localisation over all parts."""
        found = PixelScores()
        for anomaly_map, mask in zip(self.maps, shown.masks, strict=True):
            found.add(anomaly_map, mask)
        return found.measure()


def judge(model: "IBIUMAD", shown: Shown) -> Judged:
    """Score test parts."""
    import torch

    scores, maps = [], []
    with torch.inference_mode():
        for index in torch.split(torch.arange(len(shown.anomalous)), _BATCH):
            score, anomaly_map = model.judge(shown.seen.rows(index))
            scores.append(score.double().numpy())
            maps.append(anomaly_map.numpy())
    return Judged(np.concatenate(scores), np.concatenate(maps))


def judge_run(
    artifacts: Path, steps: Sequence[Sequence[str]], parts: ShownParts, backbone: "Backbone"
) -> dict[str, Any]:
    """Judge all products after every step that has them.

    Returns
    -------
    dict
        ``matrix`` (stages, products) of image AUROC, None before a product is learned; ``last`` by
        product with the figures of the last stage, false rejects of good parts among them: by the
        threshold made anew, and by that of when the product was learned.
    """
    from cad_edge_training.methods import saved_config
    from cad_edge_training.methods.ib_iumad.learn import build_model, recalibrate

    names = [name for step in steps for name in step]
    matrix: list[list[float | None]] = []
    last: dict[str, Any] = {}
    for stage in range(len(steps)):
        known = [name for step in steps[: stage + 1] for name in step]
        family = with_sharing_tasks([read_artifact(artifacts / name) for name in known])
        row: list[float | None] = [None] * len(names)
        for place, task in enumerate(family):
            artifact = task.artifact
            config: Any = saved_config(artifact.task, artifact.method, artifact.hyperparameters)
            model = build_model(backbone, config, task.model_tensors())
            shown = parts.of(task, config)
            found = judge(model, shown)
            row[place] = image_auroc(shown.anomalous, found.scores.copy())
            if stage < len(steps) - 1:
                continue
            anew = recalibrate(backbone, config, task)
            last[artifact.task] = _figures(task, found, shown) | {
                "false_rejects": found.false_rejects(
                    shown, decide(anew, artifact.false_reject_rate).threshold
                )
            }
        matrix.append(row)
    return {"matrix": matrix, "last": last}


def _figures(task: LearnedTask, found: Judged, shown: Shown) -> dict[str, Any]:
    artifact = task.artifact
    stale = decide(artifact.calibration, artifact.false_reject_rate).threshold
    pixels = found.pixels(shown)
    return {
        "image_auroc": image_auroc(shown.anomalous, found.scores.copy()),
        "pixel_auroc": pixels.auroc,
        "aupro": pixels.aupro,
        "false_rejects_stale": found.false_rejects(shown, stale),
    }
