"""What an export has to make: tasks that the bundle lacks, and all that changes with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cad_edge.errors import ArtifactError, BundleError
from cad_edge.store.artifact import LearnedTask, read_artifact, with_sharing_tasks
from cad_edge.store.manifest import Manifest, TaskEntry
from cad_edge_training.backbones import Backbone

Held = Mapping[str, TaskEntry]
"""Entries of a bundle by the name of their task."""


def read_all(artifacts: Sequence[Path]) -> list[LearnedTask]:
    """Read artifacts, each with the tasks that it shares weights with.

    Raises
    ------
    ArtifactError
        One is broken, two hold tasks of one name, or tasks with shared weights do not fit together.
    """
    found: dict[str, Path] = {}
    learned = []
    for path in artifacts:
        task = read_artifact(path)
        first = found.setdefault(task.artifact.task, path)
        if first != path:
            raise ArtifactError(
                f"{first} and {path} both hold the task {task.artifact.task}; keep one of them, or "
                "learn one under another name"
            )
        learned.append(task)
    return with_sharing_tasks(learned)


def missing_tasks(learned: Sequence[LearnedTask], held: Held) -> list[LearnedTask]:
    """Return the tasks that a bundle lacks, in stream order.

    Raises
    ------
    BundleError
        It holds another artifact under the name of one.
    """
    new = []
    for task in sorted(learned, key=lambda one: (one.artifact.position, one.artifact.task)):
        entry = held.get(task.artifact.task)
        if entry is None:
            new.append(task)
        elif entry.artifact != task.sha256:
            raise BundleError(
                f"the bundle holds another task {task.artifact.task} already; learn this one under "
                "another name, or export to a new bundle"
            )
    return new


def with_shared_weights(
    new: Sequence[LearnedTask], learned: Sequence[LearnedTask], held: Held
) -> list[LearnedTask]:
    """Add the older tasks whose shared weights change: their answers change with them.

    Raises
    ------
    ArtifactError
        One of them is in the bundle, but its artifact is not among ``learned``.
    """
    growing = {task.artifact.method for task in new if task.evolves}
    names = {task.artifact.task for task in learned}
    for name, entry in held.items():
        if entry.method in growing and name not in names:
            raise ArtifactError(
                f"the bundle's task {name} changes with every task that {entry.method} learns, and "
                "its artifact is not here; put it beside the new ones"
            )
    fresh = {task.artifact.task for task in new}
    return [task for task in learned if task.artifact.task in fresh or _grows(task, growing)]


def _grows(task: LearnedTask, growing: set[str]) -> bool:
    return task.evolves and task.artifact.method in growing


def rgb_only_fallbacks(
    spare: Sequence[LearnedTask], learned: Sequence[LearnedTask], before: Manifest | None
) -> list[LearnedTask]:
    """Return what has to be made for frames without depth.

    Those are the ones that the bundle lacks, or has of another artifact, and those that they
    share weights with.

    Parameters
    ----------
    spare
        What was learned without depth.
    learned
        Artifacts of the tasks themselves.
    before
        The bundle before this export.

    Raises
    ------
    ArtifactError
        One of ``spare`` looks at depth, is no task of the bundle, or all stand for tasks that do
        not look at depth; or a task with the same shared weights is missing.
    """
    held = dict(before.tasks) if before else {}
    looks = {name: entry.depth is not None for name, entry in held.items()}
    looks |= {task.artifact.task: task.artifact.depth is not None for task in learned}
    for task in spare:
        _require_stand_in(task, looks)
    if spare and not any(looks[task.artifact.task] for task in spare):
        raise ArtifactError(
            "no task of --without-depth is one that looks at depth, so that nothing has to stand "
            "in; leave --without-depth out"
        )
    known = rgb_only_fallbacks_of(held)
    wanted = [task for task in spare if looks[task.artifact.task]]
    new = [task for task in wanted if _is_other(task, known.get(task.artifact.task))]
    return with_shared_weights(new, wanted, known)


def rgb_only_fallbacks_of(held: Held) -> dict[str, TaskEntry]:
    """Return what answers frames without depth, by the name of the task."""
    return {name: one.without_depth for name, one in held.items() if one.without_depth is not None}


def rgb_only_fallback_line(manifest: Manifest) -> str:
    """Say which frames without depth a bundle answers."""
    looks = [name for name, entry in manifest.tasks.items() if entry.depth is not None]
    answered = [name for name in looks if manifest.tasks[name].without_depth is not None]
    refused = [name for name in looks if name not in answered]
    parts = [f"answered for {', '.join(answered)}"] if answered else []
    parts += [f"refused for {', '.join(refused)}"] if refused else []
    return f"frames without depth are {' and '.join(parts)}"


def _is_other(task: LearnedTask, held: TaskEntry | None) -> bool:
    return held is None or held.artifact != task.sha256


def _require_stand_in(task: LearnedTask, looks: Mapping[str, bool]) -> None:
    name = task.artifact.task
    if name not in looks:
        raise ArtifactError(
            f"--without-depth holds the task {name}, which the bundle does not have; export it "
            "with depth as well, or take it away there"
        )
    if task.artifact.depth is not None:
        raise ArtifactError(
            f"the task {name} of --without-depth was learned with depth, too, so that it cannot "
            "answer without; learn it from images alone"
        )


def require_one_trunk(spare: Sequence[LearnedTask], backbone: Backbone) -> None:
    """Raise ArtifactError where an RGB-only fallback has another backbone or size than the bundle.

    ``backbone`` is that of the selector; an engine may look at its frames at another size.
    """
    recipe = backbone.recipe
    for task in spare:
        artifact, found = task.artifact, task.artifact.recognised_at
        if artifact.backbone.sha256 != backbone.identity.sha256:
            raise ArtifactError(
                f"the task {artifact.task} of --without-depth was learned on "
                f"{artifact.backbone.id} ({artifact.backbone.sha256[:12]}), the bundle's on "
                f"{backbone.identity.id} ({backbone.identity.sha256[:12]}); learn it on that"
            )
        if found != recipe:
            raise ArtifactError(
                f"the task {artifact.task} of --without-depth was learned at "
                f"{found.width}x{found.height} px, the bundle's at "
                f"{recipe.width}x{recipe.height} px; learn it at that size"
            )
        if artifact.views != 1:
            raise ArtifactError(
                f"the task {artifact.task} of --without-depth was learned with views: "
                f"{artifact.views}, and frames with depth have one; learn it from one"
            )
