"""Whether the engines of a bundle answer as torch's reference models do, on all test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import Stream
from cad_edge.errors import DatasetError
from cad_edge.store.artifact import LearnedTask, read_artifact, with_sharing_tasks
from cad_edge_runtime import Detector

Array: TypeAlias = npt.NDArray[np.floating]
_BATCH = 16


@dataclass(frozen=True)
class Answers:
    """What is said of the test images of one task."""

    scores: npt.NDArray[np.float64]
    maps: npt.NDArray[np.float32] | None
    """(n, h, w); None where the method does not localise."""
    levels: npt.NDArray[np.float64] | None = None
    """(n, levels); None where the method tells no levels of evidence apart."""
    same_experts: npt.NDArray[np.bool_] | None = None
    """(n,), whether an image chooses by itself the experts of its product; None where there are
    none to choose, and of a bundle, which does not say."""


@dataclass(frozen=True)
class Agreement:
    """Answers of a bundle compared with torch's to the same images."""

    images: int
    score_max: float
    """Largest difference of the score, as a fraction of the range of good parts' scores."""
    map_max: float | None
    """The same of the map, as a fraction of the range of good parts' maps."""
    flips: int
    """Images on the other side of the threshold."""
    levels_max: float | None = None
    """The same of what levels of evidence add, as a fraction of the range of all levels of good
    parts."""
    same_experts: float | None = None
    """Share of images that choose by themselves the experts of their product."""


def agreement(
    bundle: Path, artifacts: Path, stream: Stream, backbone: str | None = None, threads: int = 1
) -> dict[str, Agreement]:
    """Show every test image of a stream to a bundle and to torch, its task given; by task.

    Parameters
    ----------
    bundle, artifacts
        The bundle and the folder of what it was made of.
    stream
        All tasks that share weights with one of them.
    backbone
        Where its weights are; None: the id in the artifacts finds them.
    threads
        Of the engines.

    Raises
    ------
    DatasetError
        A task has no good test images, so that there is no range to compare with.
    """
    learned = with_sharing_tasks([read_artifact(artifacts / task.name) for task in stream.tasks])
    found = {}
    with Detector.open(bundle, device="cpu", threads=threads, watch=False) as detector:
        for task, product in zip(learned, stream.tasks, strict=True):
            items = product.samples().test
            good = np.array([not item.anomalous for item in items], dtype=np.bool_)
            if not good.any():
                raise DatasetError(f"{product.path} has no good test images to compare on")
            entry = detector.manifest.tasks[product.name]
            evidence = entry.certificate.quantisation
            # Rounding moves all scores, and the threshold of an eight-bit engine has moved along.
            shift = 0.0 if evidence is None else evidence.score_shift
            said = _by_bundle(detector, product.name, items, shift)
            expected = _by_torch(task, items, backbone)
            found[product.name] = compare(said, expected, good, entry.decision.threshold - shift)
    return found


def compare(
    found: Answers, expected: Answers, good: npt.NDArray[np.bool_], threshold: float
) -> Agreement:
    """Compare answers to images, of which those in ``good`` (n,) have no defect."""
    flips = (found.scores > threshold) != (expected.scores > threshold)
    maps = levels = None
    if found.maps is not None and expected.maps is not None:
        maps = _largest(found.maps, expected.maps, good)
    if found.levels is not None and expected.levels is not None:
        levels = _largest(found.levels, expected.levels, good)
    largest = _largest(found.scores, expected.scores, good)
    alike = None if expected.same_experts is None else float(expected.same_experts.mean())
    return Agreement(len(good), largest, maps, int(flips.sum()), levels, alike)


def _largest(found: Array, expected: Array, good: npt.NDArray[np.bool_]) -> float:
    """Largest difference as a fraction of the range of good parts."""
    span = max(float(np.ptp(expected[good])), float(np.finfo(np.float32).tiny))
    return float(np.abs(found - expected).max()) / span


def _by_bundle(
    detector: Detector, name: str, items: Sequence[LabelledImage], shift: float
) -> Answers:
    scores, maps, levels = [], [], []
    for item in items:
        found = detector.detect(list(item.views) if item.more else item.path, name, item.depth)
        assert found.score is not None, "a frame whose task is given has a score"
        scores.append(found.score - shift)
        maps += [] if found.anomaly_map is None else [found.anomaly_map]
        levels += [] if found.levels is None else [list(found.levels.values())]
    return Answers(
        np.array(scores, np.float64),
        np.stack(maps) if maps else None,
        np.array(levels, np.float64) if levels else None,
    )


def _by_torch(task: LearnedTask, items: Sequence[LabelledImage], backbone: str | None) -> Answers:
    import torch

    from cad_edge_export.certificate import reference_model
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.images import read_planes, read_samples
    from cad_edge_training.method import ChoosesExperts, ShowsLevels

    record, recipe = task.artifact, task.artifact.recipe
    network = load_backbone(backbone or record.backbone.id, recipe.width)
    model = reference_model(task, network)
    samples = read_samples([item.views for item in items], record.views, recipe, _quiet)
    inputs = [torch.from_numpy(samples)]
    if record.depth is not None:
        planes = [item.depth for item in items if item.depth is not None]
        depth = read_planes(planes, [item.path for item in items], recipe, _quiet)
        inputs.append(torch.from_numpy(depth))
    with torch.inference_mode():
        batches = [*zip(*(torch.split(one, _BATCH) for one in inputs), strict=True)]
        scores, maps = zip(*(model(*batch) for batch in batches), strict=True)
        told = alike = None
        if isinstance(model, ShowsLevels):
            told = torch.cat([model.levels(*batch)[0] for batch in batches]).double().numpy()
        if isinstance(model, ChoosesExperts):
            alike = torch.cat([model.same_experts(*batch) for batch in batches]).numpy()
    joined = None if maps[0] is None else torch.cat(maps).numpy()
    return Answers(torch.cat(scores).double().numpy(), joined, told, alike)


def _quiet(doing: str, done: int, total: int) -> None:
    """Show nothing."""
