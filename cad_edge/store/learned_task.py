"""A learned task in memory, and the tasks that it shares weights with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact_record import Artifact

Tensors = dict[str, "np.ndarray[Any, np.dtype[Any]]"]


@dataclass(frozen=True)
class LearnedTask:
    """An artifact in memory."""

    artifact: Artifact
    tensors: Tensors
    routing: Tensors
    witness: Tensors
    shared_weights: Tensors
    """What the method shares between its tasks; empty where they share nothing."""
    sha256: str
    """Of artifact.json followed by the tensor files."""
    sharing_tasks: tuple["LearnedTask", ...] = ()
    """All tasks with the same shared weights, in stream order and this one among them."""

    @property
    def evolves(self) -> bool:
        """Whether later tasks change how this one is answered."""
        return bool(self.shared_weights)

    def model_tensors(self) -> Tensors:
        """Everything that a model of this task is made of.

        Where nothing is shared that is ``tensors``. Else it is the newest shared weights under
        their own names, of the k-th task every tensor as ``task/000k/<name>``, and
        ``sharing_tasks/index``, the place of this task.
        """
        if not self.evolves:
            return self.tensors
        place = [member.artifact.task for member in self.sharing_tasks].index(self.artifact.task)
        members = [member.tensors for member in self.sharing_tasks]
        return joined_tensors(members, self.sharing_tasks[-1].shared_weights, place)


def joined_tensors(members: Sequence[Tensors], shared_weights: Tensors, place: int) -> Tensors:
    """Join what each member owns, in stream order, and what they share, for the one at ``place``.

    Names are those of `LearnedTask.model_tensors`.
    """
    found = dict(shared_weights)
    for number, tensors in enumerate(members):
        found |= {f"task/{number:04d}/{name}": own for name, own in tensors.items()}
    return found | {"sharing_tasks/index": np.array(place, dtype=np.int64)}


def with_sharing_tasks(tasks: Sequence[LearnedTask]) -> list[LearnedTask]:
    """Give every task that evolves those that share its weights: its method's, in stream order.

    Raises
    ------
    ArtifactError
        Tasks with shared weights were learned with different options, so that no model fits all.
    """
    groups: dict[str, list[LearnedTask]] = {}
    for task in sorted(tasks, key=lambda one: (one.artifact.position, one.artifact.task)):
        if task.evolves:
            groups.setdefault(task.artifact.method, []).append(task)
    for method, members in groups.items():
        first = members[0].artifact
        for member in members:
            if member.artifact.hyperparameters != first.hyperparameters:
                raise ArtifactError(
                    f"{first.task} and {member.artifact.task} share what {method} learns but were "
                    "learned with different options; learn one of them again"
                )
    return [
        replace(task, sharing_tasks=tuple(groups[task.artifact.method])) if task.evolves else task
        for task in tasks
    ]
