"""One run of a protocol: the steps of one order, learned with one seed by one learner.

The result of a step is a file that is written whole or not at all, so an interrupted run goes on at
the first step that has none, and ends as if it had not been interrupted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pydantic import Field

from cad_edge.errors import OptionError
from cad_edge.schema import Record, TaskName, canonical_json, parse_json
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.protocol.baselines import OneModel, Reference, pooling_of
from cad_edge_benchmarks.protocol.compat import CAP, Compat
from cad_edge_benchmarks.protocol.learner_settings import LearnerSettings
from cad_edge_benchmarks.protocol.learners import CadEdge, Learner, Recipe, StepMeasurement
from cad_edge_benchmarks.protocol.separate_models import SeparateModels
from cad_edge_benchmarks.protocol.study import folder_name
from cad_edge_benchmarks.protocol.task_sequence import Step, TaskSequence, ordered

CAD_EDGE = "cad-edge"
Say = Callable[[str], None]
"""Told what is being done."""


class StepResult(Record):
    """``step-<n>.json``."""

    step: int = Field(ge=1)
    tasks: list[TaskName] = Field(description="tasks that this step added")
    measurement: StepMeasurement


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
class RunRequest:
    """What is run and measured, and where that is kept."""

    folder: Path
    learners: Mapping[str, LearnerSettings]
    orders: tuple[str, ...]
    seeds: tuple[int, ...]
    compats: tuple[Compat, ...]
    threads: int | None
    last_only: bool
    say: Say


@dataclass(frozen=True)
class Trial:
    """One order and seed of a protocol, for every learner alike."""

    request: RunRequest
    order: str
    seed: int
    steps: tuple[Step, ...]
    false_reject_rate: float

    def place(self, learner: str, kind: str, switches: Sequence[str]) -> Path:
        """Folder of a learner; switches of `compat` get their own."""
        trial = self.request.folder / "runs" / f"{self.order}-seed-{self.seed}"
        return trial / folder_name(learner) / "+".join([kind, *switches])

    def learned(self, learner: str) -> Path:
        """Folder of what a learner learned; of the switches one alone changes that."""
        names = [one.name for one in self.request.compats if one.name == CAP]
        return self.place(learner, "learned", names)

    def measured(self, learner: str) -> Path:
        """Folder of its bundle and of the results of its steps."""
        return self.place(learner, "measured", [one.name for one in self.request.compats])


def run_all(sequence: TaskSequence, request: RunRequest) -> list[Run]:
    """Run every learner in every order with every seed, whatever ``request.folder`` lacks of it."""
    runs: list[Run] = []
    for order, seed in product(request.orders, request.seeds):
        trial = Trial(request, order, seed, ordered(sequence, order), sequence.false_reject_rate)
        reference: Run | None = None
        for name, settings in request.learners.items():
            if not settings.knows_order and order != request.orders[0]:
                continue
            runs.append(_run_learner(name, settings, trial, reference))
            if reference is None and settings.is_reference:
                reference = runs[-1]
    return runs


def _run_learner(name: str, settings: LearnerSettings, trial: Trial, reference: Run | None) -> Run:
    """Run one learner; ``reference`` is the run whose bytes `replay` may store."""
    request = trial.request
    recipe = Recipe(settings, trial.seed, trial.false_reject_rate, request.threads, request.compats)
    places = trial.learned(name), trial.measured(name)
    learner: Learner
    if settings.baseline is None:
        learner = CadEdge(recipe, *places)
    elif settings.baseline == "separate":
        learner = SeparateModels(recipe, *places)
    else:
        known: Reference | None = None
        if settings.baseline == "replay" and reference is not None:
            known = _reference(reference, settings)
        learner = OneModel(recipe, *places, pooling_of(settings.baseline, trial.seed, known))
    steps = trial.steps
    if settings.one_step:
        steps = (tuple(task for step in steps for task in step),)
    return _run(name, learner, steps, trial)


def _reference(run: Run, settings: LearnerSettings) -> Reference:
    """Give what a run keeps, and the size at which a learner of ``settings`` stores images."""
    from cad_edge_training.backbones import load_backbone

    costs = run.results[-1].measurement.costs
    budgets = {task: cost.bytes for task, cost in costs.items()}
    return Reference(budgets, load_backbone(*settings.network).recipe)


def _run(name: str, learner: Learner, steps: tuple[Step, ...], trial: Trial) -> Run:
    results = []
    for number, step in enumerate(steps, 1):
        path = trial.measured(name) / f"step-{number:02d}.json"
        names = [task.name for task in step]
        measured = number == len(steps) or not trial.request.last_only
        doing = "measured before" if measured and path.is_file() else ", ".join(names)
        trial.request.say(
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
