"""What an export refuses before it writes: tasks that say nothing, and versions nobody could read.

A task that was learned from copies of one picture has no spread: its threshold and its radius are
rounding errors, and a certificate would blame the graphs for them. Figures of an entry are set
after its record was checked (`model_copy` checks nothing), so that a whole version is read back
before it is put in force.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from pydantic import ValidationError

from cad_edge.errors import ArtifactError, BundleError
from cad_edge.routing import RoutingStatistics, fit_discriminant, held_out_distances
from cad_edge.schema import canonical_json, first_problem
from cad_edge.store.artifact import LearnedTask
from cad_edge.store.manifest import Manifest

# Mean squared deviation of descriptors, in units of their squared length. Arithmetic in float32
# alone makes 1e-14; pictures of one product make 1e-4 and more.
LEAST_SPREAD = 1e-10

WITHIN = 0.5  # of good parts of each of two tasks, that lie where the other surely shows
MISTAKEN = 0.25  # of good parts of both, that are nearer to the other than to their own


def require_spread(tasks: Sequence[LearnedTask]) -> None:
    """Refuse tasks whose good parts do not differ from each other.

    Raises
    ------
    ArtifactError
        All pictures of a task look the same to the trunk, its held-out scores are all equal, or
        they are no numbers.
    """
    for task in tasks:
        name, scores = task.artifact.task, np.array(task.artifact.calibration.scores)
        length, spread = _length_and_spread(task)
        if not (np.isfinite(scores).all() and math.isfinite(spread) and math.isfinite(length)):
            raise ArtifactError(
                f"task {name}: what was learned of its good parts holds values that are no "
                "numbers; look at its pictures, and learn it again"
            )
        equal = len(scores) > 1 and float(np.ptp(scores)) == 0.0
        if equal or spread <= LEAST_SPREAD * length:
            raise ArtifactError(
                f"task {name}: the good parts that it was learned from do not differ, as copies of "
                "one picture or pictures that show nothing do, so that it has no threshold; learn "
                "it again from pictures of different good parts"
            )


def _length_and_spread(task: LearnedTask) -> tuple[float, float]:
    """Squared length of a task's mean descriptor, and mean squared deviation from it.

    Where the artifact lacks them that is left to who reads it, and nothing is refused here.
    """
    if not {"count", "mean", "scatter"} <= task.routing.keys():
        return 0.0, 1.0
    mean, scatter = task.routing["mean"].astype(np.float64), task.routing["scatter"]
    rows, columns = np.triu_indices(len(mean))
    if scatter.shape != rows.shape:
        return 0.0, 1.0
    count = max(int(task.routing["count"][0]), 1)
    return float(mean @ mean), float(scatter[rows == columns].sum(dtype=np.float64)) / count


def require_radii(radii: Mapping[str, float]) -> None:
    """Refuse distances up to which frames show a task that are no distances.

    Raises
    ------
    ArtifactError
        One is 0, below, or no finite number; the first such task is named.
    """
    for name, radius in radii.items():
        if not (math.isfinite(radius) and radius > 0):
            raise ArtifactError(
                f"task {name}: its good parts lie at a distance of {radius:g} from each other, so "
                "that no frame could be told to show it; learn it again from pictures of different "
                "good parts"
            )


def mistaken_lines(tasks: Mapping[str, RoutingStatistics], added: Sequence[str]) -> list[str]:
    """Say which of the tasks that were added have good parts that pass for those of another.

    A good part is held against its own task as if it had not been learned. Two tasks pass for one
    where most good parts of each lie within the radius of the other, and many are nearer to the
    other.

    Parameters
    ----------
    tasks
        All tasks that a discriminant tells apart.
    added
        Names of those that are new.
    """
    if len(tasks) < 2 or not added:
        return []
    fitted = fit_discriminant(tasks)
    freedom = sum(one.count for one in tasks.values()) - len(tasks)
    apart = []
    for place, name in enumerate(fitted.tasks):
        distances = fitted.distances(tasks[name].samples.astype(np.float64))
        distances[:, place] = held_out_distances(tasks[name], fitted.matrix, freedom)
        apart.append(distances)
    radii = np.array(fitted.radii)
    lines = []
    for one, other in combinations(range(len(apart)), 2):
        seen = ((apart[one], one, other), (apart[other], other, one))
        within = [float(np.mean(far[:, to] <= radii[to])) for far, _, to in seen if len(far)]
        nearer = np.concatenate([far[:, to] <= far[:, own] for far, own, to in seen])
        first, second = fitted.tasks[one], fitted.tasks[other]
        mistaken = min(within, default=0.0) >= WITHIN and nearer.mean() >= MISTAKEN
        if mistaken and {first, second}.intersection(added):
            lines.append(
                f"Warning: good parts of {second} cannot be told from those of {first}: "
                f"{nearer.sum()} of {len(nearer)} look more like the other product; frames of both "
                "need --task, or give each product images of its own parts and learn it again"
            )
    return lines


def require_readable(manifest: Manifest) -> None:
    """Refuse a version that would not be read again as it is written.

    Raises
    ------
    BundleError
        A value is not allowed in a manifest, or is no finite number.
    """
    for place, value in _numbers(manifest.model_dump(mode="python"), ""):
        if not math.isfinite(value):
            raise _unreadable(f"{place} is {value:g}")
    try:
        Manifest.model_validate_json(canonical_json(manifest))
    except ValidationError as problem:
        raise _unreadable(first_problem(problem)) from None


def _unreadable(why: str) -> BundleError:
    return BundleError(
        f"the new version could not be opened again ({why}); the bundle stays as it was: learn the "
        "product that is named again from other pictures, and export again"
    )


def _numbers(value: object, place: str) -> Iterator[tuple[str, float]]:
    """Every float below a value, with its place."""
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, f"{place}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{place}.{number}")
