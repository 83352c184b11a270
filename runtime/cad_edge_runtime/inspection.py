"""Inspection: frames through one snapshot, from pixels to detections."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from cad_edge.calibration import lower_quartile
from cad_edge.data.depth import to_size
from cad_edge.errors import GraphError, ImageError, UnknownTask
from cad_edge.recognition import shows_product
from cad_edge_runtime.answers import answers_of
from cad_edge_runtime.chain import Chain, Values
from cad_edge_runtime.defects import find_defects
from cad_edge_runtime.detection import Detection, Timings
from cad_edge_runtime.engine_outputs import DISTANCE
from cad_edge_runtime.frames import FrameInput, depth_batch, image_batch
from cad_edge_runtime.levels import Levels
from cad_edge_runtime.selection import Choice, select
from cad_edge_runtime.session import Array
from cad_edge_runtime.snapshot import OpenTask, Snapshot


@dataclass(frozen=True)
class _Routed:
    """Frames with what is known of them after the selection."""

    snapshot: Snapshot
    frames: Sequence[FrameInput]
    tasks: list[str | None]
    """Per frame the product, None where it is unknown."""

    choices: list[Choice | None]
    """Per frame what the selector said, None where it was not asked."""

    values: Values
    prepare: float
    """Seconds per frame."""

    select: float
    first: int | None
    """Number of the first frame among those that were given; None where it was given alone."""


def require_task(snapshot: Snapshot, task: str | None) -> None:
    """Raise UnknownTask unless the bundle has tasks, and ``task`` among them if it is given."""
    if not snapshot.tasks:
        raise UnknownTask(
            f"version {snapshot.pointer.version} of the bundle holds no task; train and export one"
        )
    if task is not None and task not in snapshot.tasks:
        raise unknown_task(task, snapshot.tasks)
    if task is None and snapshot.selector is None:
        raise _no_selector()


def _no_selector() -> UnknownTask:
    return UnknownTask("the bundle has no selector, so every frame needs its product: give task=")


def unknown_task(task: str, known: Iterable[str]) -> UnknownTask:
    """Make the error for a task that is not in the bundle."""
    held = ", ".join(sorted(known)) or "no task"
    return UnknownTask(f"the bundle does not hold the task {task!r}; it holds {held}")


def inspect_frames(
    snapshot: Snapshot,
    frames: Sequence[FrameInput],
    task: str | None,
    began: float,
    first: int | None = None,
) -> list[Detection]:
    """Recognise (unless ``task`` is given) and inspect frames that go through as one batch.

    Parameters
    ----------
    snapshot
        Used from beginning to end, whatever version is in force by then.
    frames
        At least one; sizes may differ.
    task
        Skips the selection.
    began
        ``perf_counter()`` before the frames were read, for the timings.
    first
        Number of the first frame, for messages; None for a frame that is alone.

    Raises
    ------
    UnknownTask
        ``task`` is not in the bundle, or the bundle holds none.
    ImageError
        A task inspects depth, and a frame has none or one of another range.
    """
    require_task(snapshot, task)
    routed = _route(snapshot, frames, task, began, first)
    answering = [_opened_for(routed, row) for row in range(len(frames))]
    if len(frames) == 1:
        return _inspect_task(routed, answering[0], [0])
    found: dict[int, Detection] = {}
    for opened in {id(one): one for one in answering}.values():
        rows = [row for row, other in enumerate(answering) if other is opened]
        found.update(zip(rows, _inspect_task(routed, opened, rows), strict=True))
    return [found[row] for row in range(len(frames))]


def _opened_for(routed: _Routed, row: int) -> OpenTask | None:
    """Choose what answers a frame, None where it shows no known product.

    Raises
    ------
    ImageError
        Its depth is missing where it is needed, or was not measured as that of training.
    """
    task = routed.tasks[row]
    if task is None:
        return None
    depth = routed.frames[row].depth
    opened = routed.snapshot.tasks[task].for_frame(depth is not None)
    choice = routed.choices[row]
    if choice is not None and choice.in_doubt and choice.distance > opened.entry.radius:
        return None  # what stands in without depth may have no maps to ask, and a smaller radius
    try:
        if opened.chain.depth is None:
            return opened
        if depth is None:
            raise ImageError(
                f"task {task!r} inspects depth as well; give depth= with the image, or export what "
                "answers without it (--without-depth)"
            )
        if opened.entry.depth is not None:
            # At the size that the graph sees: a sensor's own may be a hundred times as much.
            opened.entry.depth.require(to_size(depth, opened.chain.recipe), f"task {task!r}")
    except ImageError as problem:
        if routed.first is None:
            raise
        raise ImageError(f"image {routed.first + row}: {problem}") from None
    return opened


def recognise(snapshot: Snapshot, frames: Sequence[FrameInput], values: Values) -> list[Choice]:
    """Ask the selector which product each frame shows; what it computes stays in ``values``."""
    selector = snapshot.selector
    if selector is None:
        raise _no_selector()
    prepare(values, selector, frames, "the selector")
    selector.run(values)
    distance = values[selector.results[DISTANCE]]
    if distance.dtype != np.float32 or distance.shape[:1] != (len(frames),):
        raise GraphError(
            f"the selector gives distances as {distance.dtype} of shape {distance.shape} for "
            f"{len(frames)} frames; export the bundle again"
        )
    return select(distance, snapshot.columns, snapshot.reaches)


def _route(
    snapshot: Snapshot,
    frames: Sequence[FrameInput],
    task: str | None,
    began: float,
    first: int | None,
) -> _Routed:
    count = len(frames)
    chain = snapshot.tasks[task].chain if task is not None else snapshot.selector
    values: Values = {}
    if chain is not None:
        values[chain.image] = image_batch(frames, chain.recipe)
    prepared = perf_counter()
    choices: list[Choice | None] = [None] * count
    tasks: list[str | None] = [task] * count
    if task is None:
        found = recognise(snapshot, frames, values)
        choices = [*found]
        tasks = [choice.task if choice.known else None for choice in found]
    selected = perf_counter()
    times = (prepared - began) / count, (selected - prepared) / count
    return _Routed(snapshot, frames, tasks, choices, values, *times, first)


def prepare(values: Values, chain: Chain, frames: Sequence[FrameInput], owner: str) -> None:
    """Add the frames as ``chain`` takes them, unless they are there."""
    if chain.image not in values:
        values[chain.image] = image_batch(frames, chain.recipe)
    if chain.depth is not None and chain.depth not in values:
        values[chain.depth] = depth_batch(frames, chain.recipe, owner)


def _inspect_task(routed: _Routed, opened: OpenTask | None, rows: list[int]) -> list[Detection]:
    """Run an engine on the frames ``rows``; nothing runs for what is surely unknown."""
    if opened is None:
        timings = Timings(routed.prepare, routed.select, 0.0, 0.0)
        return [_unknown(routed, row, timings) for row in rows]
    began = perf_counter()
    values = routed.values
    if len(rows) < len(routed.frames):
        values = opened.chain.rows(values, rows)
    frames = [routed.frames[row] for row in rows]
    prepare(values, opened.chain, frames, f"task {opened.name!r}")
    opened.chain.run(values)
    scores, maps, probabilities, levels = answers_of(opened, values, len(rows))
    others = zip(maps, probabilities, levels, strict=True)
    detect = (perf_counter() - began) / len(rows)
    return [
        _judge(routed, opened, row, _Answer(float(score), *rest), detect)
        for row, score, rest in zip(rows, scores, others, strict=True)
    ]


@dataclass(frozen=True)
class _Answer:
    """What an engine says of one frame."""

    score: float
    anomaly_map: Array | None
    probability: float | None
    levels: Levels | None


def _judge(
    routed: _Routed, opened: OpenTask, row: int, answer: _Answer, detect: float
) -> Detection:
    began = perf_counter()
    score, anomaly_map = answer.score, answer.anomaly_map
    judge = opened.judge
    choice = routed.choices[row]
    if choice is not None and choice.in_doubt and _is_other_product(choice, opened, anomaly_map):
        post = perf_counter() - began
        return _unknown(routed, row, Timings(routed.prepare, routed.select, detect, post))
    size = routed.frames[row].size
    # A score that is not a number must not pass for a good part.
    normal = score <= judge.threshold
    defects = (
        find_defects(anomaly_map, judge.map_threshold, judge.minimum_area, size)
        if not normal and anomaly_map is not None
        else ()
    )
    p_value, calibrated = judge.p_value(score), judge.standardise(score)
    return Detection(
        task=opened.name,
        similarity=choice.similarity if choice else None,
        nearest=choice.task if choice else None,
        runner_up=choice.runner_up if choice else None,
        verdict="normal" if normal else "anomalous",
        score=score,
        probability=answer.probability,
        calibrated_score=calibrated,
        p_value=p_value,
        threshold=judge.threshold,
        false_reject_supported=judge.supported,
        depth_used=opened.chain.depth is not None,
        anomaly_map=anomaly_map,
        defects=defects,
        size=size,
        version=routed.snapshot.pointer.version,
        timings=Timings(routed.prepare, routed.select, detect, perf_counter() - began),
        levels=None if answer.levels is None else answer.levels.added,
        level_maps=None if answer.levels is None else answer.levels.maps,
    )


def _is_other_product(choice: Choice, opened: OpenTask, anomaly_map: Array | None) -> bool:
    """Whether a frame in doubt is strange everywhere, as one of another product is."""
    rule = opened.entry.recognition
    if rule is None:
        return False
    if anomaly_map is None:
        return True  # nothing vouches for it
    return not shows_product(rule, choice.ratio, float(lower_quartile(anomaly_map[None])[0]))


def _unknown(routed: _Routed, row: int, timings: Timings) -> Detection:
    choice = routed.choices[row]
    return Detection(
        task=None,
        similarity=choice.similarity if choice else None,
        nearest=choice.task if choice else None,
        runner_up=choice.runner_up if choice else None,
        verdict="unknown_product",
        score=None,
        probability=None,
        calibrated_score=None,
        p_value=None,
        threshold=None,
        false_reject_supported=None,
        depth_used=None,
        anomaly_map=None,
        defects=(),
        size=routed.frames[row].size,
        version=routed.snapshot.pointer.version,
        timings=timings,
    )
