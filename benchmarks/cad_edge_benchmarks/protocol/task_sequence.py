"""A course: the steps of one protocol with the folders of their products, and its other orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial
from pathlib import Path

import numpy as np

from cad_edge.data.products import is_stream_file, read_products
from cad_edge.data.stream import StreamTask
from cad_edge.errors import OptionError
from cad_edge_benchmarks.protocol.dataset_root import FoundClass, find_classes
from cad_edge_benchmarks.protocol.splits import SPLITS, named_split

Step = tuple[StreamTask, ...]
"""Tasks that are added before the next measurement."""

GIVEN = "given"
REVERSED = "reversed"
SHUFFLED = "shuffled"


@dataclass(frozen=True)
class Course:
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


def read_course(stream: str, roots: Sequence[Path], rate: float | None, default: float) -> Course:
    """Read the products of a stream, or find the dataset of a published protocol.

    Parameters
    ----------
    stream
        Path of a stream file or a folder of products, or name of a protocol.
    roots
        Folders of datasets, for a published protocol.
    rate
        Stated false-reject rate of a published protocol or a folder; a stream file states its own.
    default
        The rate where none is stated.

    Raises
    ------
    OptionError
        No such protocol, or an option that does not go with a stream file.
    DatasetError
        The stream file or the dataset cannot be used.
    """
    path = Path(stream)
    folder = stream not in SPLITS and path.is_dir()
    if folder or is_stream_file(path):
        if roots or (rate is not None and not folder):
            option = "--data" if roots else "--false-reject-rate"
            raise OptionError(f"{option} goes with the name of a protocol; {path} says it itself")
        return _from_products(path, default if rate is None else rate)
    split = named_split(stream)
    found = find_classes(split, roots)
    return Course(
        split.name,
        tuple(tuple(_task(found[name]) for name in step) for step in split.steps),
        default if rate is None else rate,
        split.whole_steps_move,
    )


def _task(found: FoundClass) -> StreamTask:
    return StreamTask(name=found.name, path=found.path, layout=found.layout)


def _from_products(path: Path, rate: float) -> Course:
    stream = read_products(path, rate)
    steps = tuple(tuple(step) for step in stream.grouped())
    return Course(stream.name, steps, stream.false_reject_rate, bool(stream.steps))


def ordered(course: Course, order: str) -> tuple[Step, ...]:
    """Return the steps of ``course`` in an order: given, reversed, or shuffled-N with a number."""
    moved: list[Step] = (
        list(course.steps) if course.whole_steps_move else [(task,) for task in course.tasks]
    )
    if order == REVERSED:
        moved.reverse()
    elif order != GIVEN:
        number = int(order.removeprefix(f"{SHUFFLED}-"))
        permutation = np.random.default_rng(number).permutation(len(moved))
        moved = [moved[place] for place in permutation]
    if course.whole_steps_move:
        return tuple(moved)
    tasks = iter([task for step in moved for task in step])
    return tuple(tuple(next(tasks) for _ in step) for step in course.steps)


def draw_orders(course: Course, count: int) -> list[str]:
    """Names of ``count`` different orders: the given one, and shuffled ones.

    Raises
    ------
    OptionError
        There are fewer orders.
    """
    parts = len(course.steps) if course.whole_steps_move else len(course.tasks)
    if count > factorial(parts):
        raise OptionError(f"--orders {count}: {parts} parts have only {factorial(parts)} orders")
    found = {_names(ordered(course, GIVEN)): GIVEN}
    number = 0
    while len(found) < count:
        number += 1
        name = f"{SHUFFLED}-{number}"
        found.setdefault(_names(ordered(course, name)), name)
    return list(found.values())


def _names(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(task.name for step in steps for task in step)
