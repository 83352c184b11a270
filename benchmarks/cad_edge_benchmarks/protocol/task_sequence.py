"""A task sequence: the steps of one protocol with the folders of their products, in any order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import factorial
from pathlib import Path

import numpy as np

from cad_edge.data.products import is_stream_file, read_products
from cad_edge.data.stream import StreamTask, read_stream
from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.open_data import FALSE_REJECT_RATE
from cad_edge_benchmarks.protocol.dataset_root import find_classes
from cad_edge_benchmarks.protocol.splits import SPLITS, cut, named_split
from cad_edge_benchmarks.protocol.study import Study

Step = tuple[StreamTask, ...]
"""Tasks that are added before the next measurement."""

GIVEN = "given"
REVERSED = "reversed"
SHUFFLED = "shuffled"


@dataclass(frozen=True)
class TaskSequence:
    """Steps of tasks in the order that the protocol gives."""

    name: str
    steps: tuple[Step, ...]
    false_reject_rate: float
    whole_steps_move: bool
    """Whether another order moves steps; otherwise tasks move and the sizes of steps stay."""

    @property
    def tasks(self) -> list[StreamTask]:
        """All tasks, in order."""
        return [task for step in self.steps for task in step]


def read_sequence(study: Study, roots: Sequence[Path] = ()) -> TaskSequence:
    """Read the stream file of a study, or find the dataset of a published protocol.

    Parameters
    ----------
    study
        Names the stream, its steps and the stated false-reject rate where they are its own.
    roots
        Folders of the datasets of a published protocol, or the folder that the paths of a stream
        file are relative to.

    Raises
    ------
    OptionError
        No such protocol, or an option that does not go with a stream file or with its tasks.
    DatasetError
        The stream file or the dataset cannot be used.
    """
    found = _named(study, roots) if study.stream in SPLITS else _from_products(study, roots)
    if not study.steps:
        return found
    if sum(study.steps) != len(found.tasks):
        raise OptionError(
            f"steps {study.steps} hold {sum(study.steps)} tasks, and {found.name} has "
            f"{len(found.tasks)}; give steps that add up"
        )
    steps = cut(tuple(found.tasks), study.steps)
    return replace(found, steps=steps, whole_steps_move=False)


def _named(study: Study, roots: Sequence[Path]) -> TaskSequence:
    split = named_split(study.stream)
    found = find_classes(split, roots)
    return TaskSequence(
        split.name,
        tuple(tuple(found[name] for name in step) for step in split.steps),
        study.false_reject_rate or FALSE_REJECT_RATE,
        split.whole_steps_move,
    )


def _from_products(study: Study, roots: Sequence[Path]) -> TaskSequence:
    path = Path(study.stream)
    if not path.is_dir() and not is_stream_file(path):
        return _named(study, roots)
    if len(roots) > 1:
        raise OptionError("--data is given twice; the paths of a stream file have one folder")
    if path.is_dir():
        if roots:
            raise OptionError(f"--data does not go with the folder {path}; leave it out")
        stream = read_products(path, study.false_reject_rate or FALSE_REJECT_RATE)
    elif study.false_reject_rate is not None:
        raise OptionError(
            "--false-reject-rate goes with the name of a protocol or a folder; "
            f"{path} says it itself"
        )
    else:
        stream = read_stream(path, *roots)
    steps = tuple(tuple(step) for step in stream.grouped())
    return TaskSequence(stream.name, steps, stream.false_reject_rate, bool(stream.steps))


def ordered(sequence: TaskSequence, order: str) -> tuple[Step, ...]:
    """Return the steps in an order: given, reversed, or shuffled-N with a number."""
    moved: list[Step] = (
        list(sequence.steps) if sequence.whole_steps_move else [(task,) for task in sequence.tasks]
    )
    if order == REVERSED:
        moved.reverse()
    elif order != GIVEN:
        number = int(order.removeprefix(f"{SHUFFLED}-"))
        permutation = np.random.default_rng(number).permutation(len(moved))
        moved = [moved[place] for place in permutation]
    if sequence.whole_steps_move:
        return tuple(moved)
    tasks = tuple(task for step in moved for task in step)
    return cut(tasks, [len(step) for step in sequence.steps])


def draw_orders(sequence: TaskSequence, orders: int | Sequence[str]) -> tuple[str, ...]:
    """Names of different orders: those that are named, or so many, the given one and shuffled ones.

    Raises
    ------
    OptionError
        There are fewer orders.
    """
    if not isinstance(orders, int):
        return tuple(f"{SHUFFLED}-1" if order == SHUFFLED else order for order in orders)
    parts = len(sequence.steps) if sequence.whole_steps_move else len(sequence.tasks)
    if orders > factorial(parts):
        raise OptionError(f"--orders {orders}: {parts} parts have only {factorial(parts)} orders")
    found = {_names(ordered(sequence, GIVEN)): GIVEN}
    number = 0
    while len(found) < orders:
        number += 1
        name = f"{SHUFFLED}-{number}"
        found.setdefault(_names(ordered(sequence, name)), name)
    return tuple(found.values())


def _names(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(task.name for step in steps for task in step)
