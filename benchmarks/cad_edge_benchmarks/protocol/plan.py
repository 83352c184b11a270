"""The folder of a protocol: what it was begun with, so that a later call goes on or is refused.

    OUT/plan.json                                   the `Plan` below
        views/<task>/                               links, see `dataset_root`
        runs/<order>-seed-<n>/<learner>/learned/    artifacts
                                       /measured/   bundles, and step-<n>.json for each step
        protocol.json, protocol.md, protocol.html   the report, written again at the end of a call

Switches of `compat` get folders of their own (``measured+flip``), so that honest figures never
mix with others, and reports of their own (``protocol+flip.json``).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from cad_edge.data.product import ProductImages
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError, OptionError
from cad_edge.schema import Record, Sha256, TaskName, canonical_json, parse_json, sha256_of
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.protocol.compat import VISA_TRAIN_CAP, Compat
from cad_edge_benchmarks.protocol.dataset_root import link_first
from cad_edge_benchmarks.protocol.task_sequence import Course

CAP = "visa_train_cap"


class Plan(Record):
    """What every run in one folder shares."""

    protocol: str
    steps: list[list[TaskName]]
    paths: dict[TaskName, str]
    layouts: dict[TaskName, str]
    images: dict[TaskName, Sha256] = Field(description="over names and sizes of all its images")
    false_reject_rate: float
    method: str
    backbone: str
    size: int | Literal["auto"] | None
    options: dict[str, str]


def plan_of(
    course: Course,
    method: str,
    backbone: str,
    size: int | Literal["auto"] | None,
    options: dict[str, str],
) -> Plan:
    """Describe a course and how it is learned.

    Raises
    ------
    DatasetError
        A product cannot be read.
    """
    return Plan(
        protocol=course.name,
        steps=[[task.name for task in step] for step in course.steps],
        paths={task.name: str(task.path) for task in course.tasks},
        layouts={task.name: task.layout for task in course.tasks},
        images={task.name: _fingerprint(task) for task in course.tasks},
        false_reject_rate=course.false_reject_rate,
        method=method,
        backbone=backbone,
        size=size,
        options=options,
    )


def _fingerprint(task: StreamTask) -> str:
    """sha256 over names and sizes, which every change of a folder that matters would move."""
    files = _files(task.samples())
    lines = [f"{'/'.join(path.parts[-4:])} {path.stat().st_size}" for path in files]
    return sha256_of("\n".join(lines).encode())


def _files(product: ProductImages) -> list[Path]:
    tests = [
        path
        for item in product.test
        for path in (*item.views, item.mask, item.depth)
        if path is not None
    ]
    learned = [*product.train_views(), *(item.views for item in product.defective)]
    return [*(path for views in learned for path in views), *product.train_depth, *tests]


def check_folder(folder: Path, plan: Plan) -> None:
    """Say before anything is learned why ``folder`` cannot be used for ``plan``.

    Raises
    ------
    OptionError
        It is a file, lies below one or may not be written to; it holds something else, or was
        begun with another plan.
    """
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise OptionError(f"--out {folder} cannot be made: {above} is a file; give a folder")
    if not os.access(above, os.W_OK):
        raise OptionError(f"--out {folder} cannot be written to; give another folder")
    path = folder / "plan.json"
    if path.is_file():
        _compare(parse_json(Plan, path.read_bytes(), str(path), OptionError), plan, folder)
    elif folder.is_dir() and any(one.name != ".lock" for one in folder.iterdir()):
        raise OptionError(f"--out {folder} holds other files; give an empty or new folder")


def begin(folder: Path, plan: Plan) -> None:
    """Write the plan of a new folder; errors are those of `check_folder`."""
    check_folder(folder, plan)
    if not (folder / "plan.json").is_file():
        replace_file(folder / "plan.json", canonical_json(plan))


def _compare(held: Plan, plan: Plan, folder: Path) -> None:
    for name in Plan.model_fields:
        then, now = getattr(held, name), getattr(plan, name)
        if then == now:
            continue
        if name == "images":
            changed = [task for task in now if then.get(task) != now[task]]
            what = f"other images of {', '.join(changed)}"
        else:
            what = f"{name.replace('_', ' ')} {_short(then)}, not {_short(now)}"
        raise OptionError(f"--out {folder} was begun with {what}; give another folder")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_compats(course: Course, compats: Sequence[Compat]) -> None:
    """Refuse a switch that has nothing to do; OptionError for `CAP` without a VisA class."""
    if _capped(compats) and not any(task.layout == "visa" for task in course.tasks):
        raise OptionError(f"--compat {CAP}: {course.name} has no class in the layout visa")


def _capped(compats: Sequence[Compat]) -> bool:
    return any(compat.name == CAP for compat in compats)


def with_views(course: Course, folder: Path, compats: Sequence[Compat]) -> Course:
    """Return the course with links in place of the products that cannot be used where they lie.

    Raises
    ------
    DatasetError
        A product behind its links cannot be read.
    """
    capped = _capped(compats)
    steps = tuple(
        tuple(_viewed(task, folder / "views", capped) for task in step) for step in course.steps
    )
    return Course(course.name, steps, course.false_reject_rate, course.whole_steps_move)


def _viewed(task: StreamTask, views: Path, capped: bool) -> StreamTask:
    if not capped or task.layout != "visa":
        return task
    path = link_first(task.path, task.layout, VISA_TRAIN_CAP, views / f"{task.name}+{CAP}")
    return StreamTask(name=task.name, path=path, layout="mvtec")


def check_products(course: Course) -> list[str]:
    """Names of the tasks whose figures will be undefined, with the reason.

    Raises
    ------
    DatasetError
        No task has test images of both classes.
    """
    remarks, defined = [], 0
    for task in course.tasks:
        labels = {item.anomalous for item in task.samples().test}
        defined += len(labels) == 2
        if not labels:
            remarks.append(f"{task.name} has no test images")
        elif len(labels) == 1:
            kind = "defective" if True in labels else "good"
            remarks.append(f"{task.name} has only {kind} test images")
    if not defined:
        raise DatasetError(
            f"no task of {course.name} has good and defective test images, so nothing could be "
            "measured; add test/good and test/<defect>"
        )
    return remarks
