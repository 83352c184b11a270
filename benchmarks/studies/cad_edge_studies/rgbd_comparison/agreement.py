"""Whether exported engines with depth say of test parts what torch says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import Stream
from cad_edge.store.artifact import read_artifact, with_sharing_tasks
from cad_edge_benchmarks.reporting.progress import quiet
from cad_edge_runtime import Detector

if TYPE_CHECKING:
    import torch

    from cad_edge_training.backbones import Backbone

_BATCH = 16


@dataclass(frozen=True)
class Agreement:
    """Answers of a bundle compared with torch's to the same test parts."""

    images: int
    score_max: float
    """Largest difference of the score, as a fraction of the range of good parts' scores."""
    map_max: float
    """The same of the map, as a fraction of the range of good parts' maps."""
    flips: int
    """Parts on the other side of the threshold."""


@dataclass(frozen=True)
class Answers:
    """Of the test parts of one product."""

    scores: npt.NDArray[np.float64]
    maps: npt.NDArray[np.float32]


def compare(
    found: Answers, expected: Answers, good: npt.NDArray[np.bool_], threshold: float
) -> Agreement:
    """Compare answers to parts, of which those in ``good`` (n,) have no defect."""
    scores = np.abs(found.scores - expected.scores) / np.ptp(expected.scores[good])
    maps = np.abs(found.maps - expected.maps) / np.ptp(expected.maps[good])
    flips = (found.scores > threshold) != (expected.scores > threshold)
    return Agreement(len(good), float(scores.max()), float(maps.max()), int(flips.sum()))


def joined(parts: Sequence[Agreement]) -> Agreement:
    """Agreement over all products."""
    return Agreement(
        sum(one.images for one in parts),
        max(one.score_max for one in parts),
        max(one.map_max for one in parts),
        sum(one.flips for one in parts),
    )


def agreement(
    bundle: Path, artifacts: Path, stream: Stream, backbone: "Backbone", threads: int
) -> Agreement:
    """Show every test part of a stream to a bundle and to torch, its product given."""
    from cad_edge_export.certificate import reference_model

    tasks = with_sharing_tasks([read_artifact(artifacts / task.name) for task in stream.tasks])
    found = []
    with Detector.open(bundle, device="cpu", threads=threads, watch=False) as detector:
        for task, product in zip(tasks, stream.tasks, strict=True):
            items = product.images().test
            expected = _by_torch(reference_model(task, backbone), items, backbone)
            good = np.array([not item.anomalous for item in items])
            threshold = detector.manifest.tasks[product.name].decision.threshold
            found.append(
                compare(_by_bundle(detector, product.name, items), expected, good, threshold)
            )
    return joined(found)


def _by_bundle(detector: Detector, name: str, items: Sequence[LabelledImage]) -> Answers:
    needs = detector.manifest.tasks[name].depth is not None
    scores, maps = [], []
    for item in items:
        said = detector.detect(item.path, task=name, depth=item.depth if needs else None)
        assert said.score is not None and said.anomaly_map is not None
        scores.append(said.score)
        maps.append(said.anomaly_map)
    return Answers(np.array(scores, np.float64), np.stack(maps))


def _by_torch(
    model: "torch.nn.Module", items: Sequence[LabelledImage], backbone: "Backbone"
) -> Answers:
    import torch

    from cad_edge_training.images import read_images, read_planes

    paths = [item.path for item in items]
    images = torch.from_numpy(read_images(paths, backbone.recipe, quiet))
    planes = [item.depth for item in items if item.depth is not None]
    depth = torch.from_numpy(read_planes(planes, paths, backbone.recipe, quiet))
    scores, maps = [], []
    with torch.inference_mode():
        for rows in torch.split(torch.arange(len(items)), _BATCH):
            score, anomaly_map = model(images[rows], depth[rows])
            scores.append(score.double().numpy())
            maps.append(anomaly_map.numpy())
    return Answers(np.concatenate(scores), np.concatenate(maps))
