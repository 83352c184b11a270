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
from cad_edge_benchmarks.protocol.baselines import OneModel, Reference, pool_of
from cad_edge_benchmarks.protocol.learners import CadEdge, Learner, Measured, Recipe
from cad_edge_benchmarks.protocol.plan import CAP
from cad_edge_benchmarks.protocol.task_sequence import Step

CAD_EDGE = "cad-edge"
Say = Callable[[str], None]
"""Told what is being done."""


class StepResult(Record):
    """``step-<n>.json``."""

    step: int = Field(ge=1)
    tasks: list[TaskName] = Field(description="tasks that this step added")
    measured: Measured


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
class Places:
    """Folders of one learner in one run."""

    learned: Path
    measured: Path

    def step(self, number: int) -> Path:
        """File of the result of step ``number``, from 1."""
        return self.measured / f"step-{number:02d}.json"


def places_of(folder: Path, order: str, recipe: Recipe, learner: str) -> Places:
    """Folders of a learner; switches of `compat` get their own."""
    names = [compat.name for compat in recipe.compats]
    capped = f"+{CAP}" if CAP in names else ""
    place = folder / "runs" / f"{order}-seed-{recipe.seed}" / learner
    return Places(place / f"learned{capped}", place / "+".join(["measured", *names]))


@dataclass(frozen=True)
class Trial:
    """One order and seed of a protocol, for every learner alike."""

    folder: Path
    order: str
    steps: tuple[Step, ...]
    recipe: Recipe
    last_only: bool
    say: Say

    def places(self, learner: str) -> Places:
        """Folders of a learner."""
        return places_of(self.folder, self.order, self.recipe, learner)


def run_cad_edge(trial: Trial) -> Run:
    """Run cad-edge itself."""
    places = trial.places(CAD_EDGE)
    return _run(CAD_EDGE, CadEdge(trial.recipe, places.learned, places.measured), trial)


def run_baseline(name: str, reference: Run, trial: Trial) -> Run:
    """Run a baseline beside ``reference``, the run of cad-edge in the same trial."""
    costs = reference.results[-1].measured.costs
    learned = trial.places(CAD_EDGE).learned / next(iter(costs))
    budgets = {task: cost.bytes for task, cost in costs.items()}
    pool = pool_of(name, trial.recipe.seed, Reference(budgets, read_record(learned).recipe))
    places = trial.places(name)
    return _run(name, OneModel(trial.recipe, places.learned, places.measured, pool), trial)


def _run(name: str, learner: Learner, trial: Trial) -> Run:
    results = []
    for number, step in enumerate(trial.steps, 1):
        path = trial.places(name).step(number)
        names = [task.name for task in step]
        measure = number == len(trial.steps) or not trial.last_only
        doing = "measured before" if measure and path.is_file() else ", ".join(names)
        trial.say(
            f"{name}, order {trial.order}, seed {trial.recipe.seed}, "
            f"step {number} of {len(trial.steps)}: {doing}"
        )
        learner.learn(step)
        if not measure:
            continue
        if not path.is_file():
            result = StepResult(step=number, tasks=names, measured=learner.evaluate())
            replace_file(path, canonical_json(result))
        results.append(read_step(path))
    added = tuple(tuple(task.name for task in step) for step in trial.steps)
    return Run(name, trial.order, trial.recipe.seed, added, tuple(results))


def read_step(path: Path) -> StepResult:
    """Read the result of a step; OptionError if the file is broken."""
    source = f"{path} (remove it to measure the step again)"
    return parse_json(StepResult, path.read_bytes(), source, OptionError)
