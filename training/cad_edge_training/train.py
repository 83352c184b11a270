"""Learning the tasks of a stream, one after another, into a folder of artifacts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from cad_edge.data.stream import Stream, StreamTask
from cad_edge.errors import OptionError
from cad_edge.schema import Record
from cad_edge.store.artifact import Artifact, read_artifact, read_record
from cad_edge_training.backbones import load_backbone
from cad_edge_training.check.before_learning import Survey, survey
from cad_edge_training.held_artifacts import check_held, held_artifacts
from cad_edge_training.input_size import AUTO, InputSizes, Size, input_sizes
from cad_edge_training.learned import Progress
from cad_edge_training.learning import Learning, discard_unfinished, learns_steps
from cad_edge_training.method import (
    LearnsAllAtOnce,
    LearnsDistributed,
    NamesUnsupportedParts,
    UsesViews,
)
from cad_edge_training.methods import load_method
from cad_edge_training.notes import learned_line, method_lines, outlier_lines
from cad_edge_training.processes import started_processes
from cad_edge_training.views import views_of


@dataclass(frozen=True)
class TrainingPlan:
    """What to learn with, the same for every task of a run."""

    method: str
    backbone: str
    size: Size
    options: Mapping[str, str]
    """Options of the method as NAME: VALUE, values still text."""
    seed: int
    keep_outliers: bool = False
    """Whether odd ones among the good parts have a say in thresholds and scales."""
    budget_ms: float | None = None
    """Longest time of the trunk for one frame, in milliseconds, where ``size`` is auto."""

    def __post_init__(self) -> None:
        if self.budget_ms is not None and self.size != AUTO:
            raise OptionError(
                "--budget-ms chooses among the input sizes of --size auto; give that as well, or "
                "leave --budget-ms out"
            )

    @property
    def given_size(self) -> int | None:
        """Input side in pixels, None where that is the backbone's own to begin with."""
        return self.size if isinstance(self.size, int) else None


def train(
    stream: Stream,
    out: Path,
    plan: TrainingPlan,
    progress: Callable[[str], Progress],
    say: Callable[[str], None] = lambda line: None,
    check: bool = False,
) -> list[str]:
    """Learn the tasks of ``stream`` that ``out`` does not hold yet; return their names.

    Parameters
    ----------
    stream
        Tasks in the order in which they are learned.
    out
        Folder of artifacts.
    plan
        Method, backbone and options.
    progress
        Gives, for the name of a task, the callback that shows its progress.
    say
        Told, line by line, what was chosen for a product and why.
    check
        Whether the images are looked at first, and what is wrong with them is said.

    Raises
    ------
    CadEdgeError
        Bad data, option or artifact; tasks learned before it are kept.
    """
    processes = started_processes()
    views = views_of(stream, plan.method)
    backbone = load_backbone(plan.backbone, plan.given_size)
    config = read_config(plan, views)
    sizes: InputSizes | None = None
    if plan.size == AUTO:
        sizes = input_sizes(plan.method, backbone, config, plan.budget_ms)
    if processes.leads:
        if (missing := unsupported_parts(plan, config)) is not None:
            say(missing)
        discard_unfinished(out, plan.method)
    processes.wait()
    held = held_artifacts(out, stream)
    check_held(held, out, backbone, views)
    pending = [task for task in stream.tasks if task.name not in held]
    at_once = _all_at_once(plan, config, held, pending)
    _check_groups(pending)
    found = Survey({}, ())
    if processes.leads or learns_in_several(plan.method):
        found = survey(pending, stream.false_reject_rate, check and processes.leads)
    if processes.leads:
        for line in found.lines:
            say(line)
    position = 1 + max((record.position for record in held.values()), default=-1)
    learned: list[str] = []
    learning = Learning(
        out,
        plan.method,
        plan.seed,
        backbone,
        config,
        stream.false_reject_rate,
        plan.keep_outliers,
        parts=found.parts,
        known={record.provenance.data_sha256: record.task for record in held.values()},
    )
    for tasks in [pending] if at_once else _pending(stream, held, plan.method):
        # What is there has been read by all before one writes, and written before all read on.
        processes.wait()
        if processes.leads or learns_in_several(plan.method):
            sized = learning if sizes is None else _sized(learning, sizes, tasks[0], say)
            sized.learn(tasks, position, progress)
        learned += [task.name for task in tasks]
        position += len(tasks)
    processes.wait()
    if processes.leads:
        for name in learned:
            record = read_record(out / name)
            said = learned_line(record, found.parts.get(name)), *outlier_lines(record)
            for line in (*said, *method_lines(read_artifact(out / name), plan.backbone)):
                say(line)
    return learned


def _all_at_once(
    plan: TrainingPlan, config: Record, held: Mapping[str, Artifact], pending: Sequence[StreamTask]
) -> bool:
    """Whether all products are learned in one step; OptionError where some are there already."""
    method = load_method(plan.method)
    if not isinstance(method, LearnsAllAtOnce) or not method.all_at_once(config) or not pending:
        return False
    if held:
        raise OptionError(
            f"a fixed set of products is learned at once, and {', '.join(sorted(held)[:5])} are "
            "there already; give --out another folder"
        )
    return True


def unsupported_parts(plan: TrainingPlan, config: Record) -> str | None:
    """Say which published parts are left out by the backbone or by options; None: none is."""
    method = load_method(plan.method)
    if isinstance(method, NamesUnsupportedParts):
        return method.unsupported_parts(plan.backbone, config)
    return None


def _sized(
    learning: Learning, sizes: InputSizes, task: StreamTask, say: Callable[[str], None]
) -> Learning:
    """Learn at the product's own size, and recognise at the one that all products have."""
    backbone, line = sizes.choose(task)
    say(line)
    routing = learning.backbone
    if backbone.recipe == routing.recipe:
        return learning
    return replace(learning, backbone=backbone, routing=routing)


def _pending(
    stream: Stream, held: Mapping[str, Artifact], method: str
) -> Iterator[list[StreamTask]]:
    """Tasks to learn together: those of a step, for a method that does, else each on its own."""
    for step in stream.grouped():
        tasks = [task for task in step if task.name not in held]
        if learns_steps(method):
            yield from [tasks] if tasks else []
        else:
            yield from ([task] for task in tasks)


def learns_in_several(method: str) -> bool:
    """Whether all processes of a training learn a task together, and not the first one alone."""
    return isinstance(load_method(method), LearnsDistributed)


def _check_groups(tasks: Sequence[StreamTask]) -> None:
    """Raise DatasetError where groups of images are not told, before the first task is learned."""
    for task in tasks:
        if task.group is not None:
            task.groups(task.samples())


def read_config(plan: TrainingPlan, views: int = 1) -> Record:
    """Return the method's `Config`: its defaults for the backbone, then the user's options.

    Parameters
    ----------
    plan
        Method, backbone and options.
    views
        Images of each sample; there are defaults of their own for several.

    Raises
    ------
    OptionError
        An option does not exist or a value is not allowed.
    """
    method = load_method(plan.method)
    known = method.config.model_fields
    for name in plan.options:
        if name not in known:
            raise OptionError(
                f"--set {name}: {plan.method} has no such option; it has {', '.join(sorted(known))}"
            )
    defaults = method.defaults_for(plan.backbone)
    if views > 1 and isinstance(method, UsesViews):
        defaults |= method.defaults_for_views()
    values = defaults | {
        name: _parsed(text, known[name].annotation) for name, text in plan.options.items()
    }
    try:
        config: Record = method.config.model_validate(values)
        return config
    except ValidationError as problem:
        raise OptionError(_said(problem)) from None


def _said(problem: ValidationError) -> str:
    """One sentence on the first option that is wrong, or on those that do not fit together."""
    error = problem.errors(include_url=False)[0]
    reason = error["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in error["loc"])
    return f"--set {place}: {reason}" if place else f"--set: {reason}"


def _parsed(text: str, annotation: object) -> object:
    if "tuple" in str(annotation):
        return tuple(part for part in text.split(",") if part)
    return text
