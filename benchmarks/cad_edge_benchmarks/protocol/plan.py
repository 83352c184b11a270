"""The folder of a protocol: what it was begun with, so that a later call goes on or is refused.

    OUT/plan.json                                   the `Plan` below
        views/<task>/                               links, see `dataset_root`
        runs/<order>-seed-<n>/<learner>/learned/    artifacts
                                       /measured/   bundles, and step-<n>.json for each step
        protocol.json, protocol.md, protocol.html   the report, written again at the end of a call

Switches of `compat` get folders of their own (``measured+flip``), so that honest figures never
mix with others, and reports of their own (``protocol+flip.json``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from cad_edge.data.product import ProductImages
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError, OptionError
from cad_edge.schema import Record, Sha256, TaskName, canonical_json, parse_json, sha256_of
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.protocol.compat import CAP, VISA_TRAIN_CAP, Compat
from cad_edge_benchmarks.protocol.dataset_root import link_first
from cad_edge_benchmarks.protocol.learner_settings import LearnerSettings
from cad_edge_benchmarks.protocol.task_sequence import TaskSequence
from cad_edge_benchmarks.reporting import report_files


class Plan(Record):
    """What every run in one folder shares."""

    protocol: str
    steps: list[list[TaskName]]
    paths: dict[TaskName, str]
    layouts: dict[TaskName, str]
    images: dict[TaskName, Sha256] = Field(description="over names and sizes of all its images")
    false_reject_rate: float
    learners: dict[str, LearnerSettings] = Field(description="of all calls so far")


def plan_of(sequence: TaskSequence, name: str, learners: Mapping[str, LearnerSettings]) -> Plan:
    """Describe a task sequence and what learns it; ``name`` is that of the study.

    Raises
    ------
    DatasetError
        A product cannot be read.
    """
    return Plan(
        protocol=name,
        steps=[[task.name for task in step] for step in sequence.steps],
        paths={task.name: str(task.path) for task in sequence.tasks},
        layouts={task.name: task.layout for task in sequence.tasks},
        images={task.name: _fingerprint(task) for task in sequence.tasks},
        false_reject_rate=sequence.false_reject_rate,
        learners=dict(learners),
    )


def _fingerprint(task: StreamTask) -> str:
    """sha256 over names and sizes, which every change of a folder that matters would move."""
    files = _files(task.samples())
    lines = [f"{'/'.join(path.parts[-4:])} {path.stat().st_size}" for path in files]
    return sha256_of("\n".join(lines).encode("utf-8", "surrogateescape"))


def _files(product: ProductImages) -> list[Path]:
    tests = [
        path
        for item in product.test
        for path in (*item.views, *item.mask_files(), *((item.depth,) if item.depth else ()))
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
    report_files.check_folder("--out", folder)
    begun = _begun(folder)
    if begun is not None:
        _compare(begun, plan, folder)
    elif folder.is_dir() and any(one.name != ".lock" for one in folder.iterdir()):
        raise OptionError(f"--out {folder} holds other files; give an empty or new folder")


def begin(folder: Path, plan: Plan) -> None:
    """Write the plan of a folder, with new learners beside those before; errors: `check_folder`."""
    check_folder(folder, plan)
    begun = _begun(folder) or plan
    whole = begun.model_copy(update={"learners": begun.learners | plan.learners})
    replace_file(folder / "plan.json", canonical_json(whole))


def _begun(folder: Path) -> Plan | None:
    path = folder / "plan.json"
    if not path.is_file():
        return None
    source = f"{path} (of another version? give another --out)"
    return parse_json(Plan, path.read_bytes(), source, OptionError)


def _compare(begun: Plan, plan: Plan, folder: Path) -> None:
    if begun.images != plan.images and begun.paths == plan.paths:
        changed = [task for task in plan.images if begun.images.get(task) != plan.images[task]]
        raise OptionError(
            f"--out {folder} was begun with other images of {', '.join(changed)}; give another "
            "folder"
        )
    _compare_fields(begun, plan, Plan, "", folder)
    for name in plan.learners.keys() & begun.learners.keys():
        one, other = begun.learners[name], plan.learners[name]
        _compare_fields(one, other, LearnerSettings, f" of {name}", folder)


def _compare_fields(
    begun: Record, now: Record, kind: type[Record], owner: str, folder: Path
) -> None:
    """Raise OptionError on the first field that differs; learners are compared one by one."""
    for name in kind.model_fields:
        then, new = getattr(begun, name), getattr(now, name)
        if then != new and name not in ("learners", "images"):
            raise OptionError(
                f"--out {folder} was begun with {name.replace('_', ' ')} {_short(then)}{owner}, "
                f"not {_short(new)}; give another folder"
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_compats(sequence: TaskSequence, compats: Sequence[Compat]) -> None:
    """Refuse a switch that has nothing to do; OptionError for `CAP` without a VisA class."""
    if _capped(compats) and not any(task.layout == "visa" for task in sequence.tasks):
        raise OptionError(f"--compat {CAP}: {sequence.name} has no class in the layout visa")


def _capped(compats: Sequence[Compat]) -> bool:
    return any(compat.name == CAP for compat in compats)


def with_views(sequence: TaskSequence, folder: Path, compats: Sequence[Compat]) -> TaskSequence:
    """Return the sequence with links in place of the products that cannot be used where they lie.

    Raises
    ------
    DatasetError
        A product behind its links cannot be read.
    """
    if not _capped(compats):
        return sequence
    steps = tuple(
        tuple(
            link_first(task, VISA_TRAIN_CAP, folder / "views" / f"{task.name}+{CAP}")
            if task.layout == "visa"
            else task
            for task in step
        )
        for step in sequence.steps
    )
    return replace(sequence, steps=steps)


def check_products(sequence: TaskSequence) -> list[str]:
    """Names of the tasks whose figures will be undefined, with the reason.

    Raises
    ------
    DatasetError
        No task has test images of both classes.
    """
    remarks, defined = [], 0
    for task in sequence.tasks:
        labels = {item.anomalous for item in task.samples().test}
        defined += len(labels) == 2
        if not labels:
            remarks.append(f"{task.name} has no test images")
        elif len(labels) == 1:
            kind = "defective" if True in labels else "good"
            remarks.append(f"{task.name} has only {kind} test images")
    if not defined:
        raise DatasetError(
            f"no task of {sequence.name} has good and defective test images, so nothing could be "
            "measured; add test/good and test/<defect>"
        )
    return remarks
