"""One run of a protocol: the steps of one order, learned with one seed by one learner.

The result of a step is a file that is written whole or not at all, so an interrupted run goes on at
the first step that has none, and ends as if it had not been interrupted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from cad_edge.errors import OptionError
from cad_edge.schema import Record, TaskName, canonical_json, parse_json
from cad_edge.store.artifact import read_record
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.protocol.baselines import OneModel, Reference, pooling_of
from cad_edge_benchmarks.protocol.compat import CAP, Compat
from cad_edge_benchmarks.protocol.learners import CadEdge, Learner, Measurement, Recipe
from cad_edge_benchmarks.protocol.study import LearnerSettings, folder_name
from cad_edge_benchmarks.protocol.task_sequence import Step

CAD_EDGE = "cad-edge"
Say = Callable[[str], None]
"""Told what is being done."""


class StepResult(Record):
    """``step-<n>.json``."""

    step: int = Field(ge=1)
    tasks: list[TaskName] = Field(description="tasks that this step added")
    measurement: Measurement


@dataclass(frozen=True)
class Run:
    """Results of one learner, order and seed; only the last step with ``--last-only``."""

    learner: str
    order: str
    seed: int
    steps: tuple[tuple[str, ...], ...]
    """Names of the tasks that each step adds."""
    results: tuple[StepResult, ...]


@dataclass(frozen=True)
class Trial:
    """One order and seed of a protocol, for every learner alike."""

    folder: Path
    order: str
    steps: tuple[Step, ...]
    seed: int
    false_reject_rate: float
    threads: int | None
    compats: tuple[Compat, ...]
    last_only: bool
    say: Say

    def place(self, learner: str, kind: str, switches: tuple[str, ...]) -> Path:
        """Folder of a learner; switches of `compat` get their own."""
        below = self.folder / "runs" / f"{self.order}-seed-{self.seed}" / folder_name(learner)
        return below / "+".join([kind, *switches])

    def learned(self, learner: str) -> Path:
        """Folder of what a learner learned; of the switches one alone changes that."""
        names = [compat.name for compat in self.compats]
        return self.place(learner, "learned", (CAP,) if CAP in names else ())

    def measured(self, learner: str) -> Path:
        """Folder of its bundle and of the results of its steps."""
        names = tuple(compat.name for compat in self.compats)
        return self.place(learner, "measured", names)


def run_learner(
    name: str, settings: LearnerSettings, trial: Trial, reference: Run | None = None
) -> Run:
    """Run one learner; ``reference`` is the run whose bytes `replay` may store."""
    recipe = Recipe(
        settings, trial.seed, trial.false_reject_rate, trial.threads, trial.compats
    )
    places = trial.learned(name), trial.measured(name)
    learner: Learner
    if settings.baseline is None:
        learner = CadEdge(recipe, *places)
    else:
        known = None if reference is None else _reference(reference, trial)
        learner = OneModel(recipe, *places, pooling_of(settings.baseline, trial.seed, known))
    steps = trial.steps
    if settings.one_step:
        steps = (tuple(task for step in steps for task in step),)
    return _run(name, learner, steps, trial)


def _reference(run: Run, trial: Trial) -> Reference:
    costs = run.results[-1].measurement.costs
    recipe = read_record(trial.learned(run.learner) / next(iter(costs))).recipe
    return Reference({task: cost.bytes for task, cost in costs.items()}, recipe)


def _run(name: str, learner: Learner, steps: tuple[Step, ...], trial: Trial) -> Run:
    results = []
    for number, step in enumerate(steps, 1):
        path = trial.measured(name) / f"step-{number:02d}.json"
        names = [task.name for task in step]
        measured = number == len(steps) or not trial.last_only
        doing = "measured before" if measured and path.is_file() else ", ".join(names)
        trial.say(
            f"{name}, order {trial.order}, seed {trial.seed}, "
            f"step {number} of {len(steps)}: {doing}"
        )
        learner.learn(step)
        if not measured:
            continue
        if not path.is_file():
            result = StepResult(step=number, tasks=names, measurement=learner.evaluate())
            replace_file(path, canonical_json(result))
        results.append(read_step(path))
    added = tuple(tuple(task.name for task in step) for step in steps)
    return Run(name, trial.order, trial.seed, added, tuple(results))


def read_step(path: Path) -> StepResult:
    """Read the result of a step; OptionError if the file is broken."""
    source = f"{path} (remove it to measure the step again)"
    return parse_json(StepResult, path.read_bytes(), source, OptionError)
