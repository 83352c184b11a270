"""Figures of runs: task matrices, continual metrics, and mean and deviation over runs.

Every figure of `TaskEvaluation` has a matrix of its own; ``matrix[n][i]`` is task i after step n,
None where the task is not learned yet or the figure is undefined. A run that measured its last step
only has no matrix, so forgetting, average and transfer are undefined; they are not 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev

import numpy as np
import numpy.typing as npt

from cad_edge_benchmarks.instruments import continual_metrics as continual
from cad_edge_benchmarks.instruments.evaluation import RATES, mean_of
from cad_edge_benchmarks.instruments.metrics import mean_defined
from cad_edge_benchmarks.instruments.proportion import Interval
from cad_edge_benchmarks.instruments.verdicts import Verdicts, pooled
from cad_edge_benchmarks.protocol.learners import Cost
from cad_edge_benchmarks.protocol.run import Run

CONTINUAL = ("image_auroc", "image_ap", "image_f1", "pixel_auroc", "pixel_ap", "aupro")
"""Figures of which continual metrics are given."""


@dataclass(frozen=True)
class Continual:
    """Continual metrics of one figure in one run; definitions are those of `continual`."""

    matrix: list[list[float | None]]
    """(steps measured, tasks), tasks in the order of the run."""
    a_auroc: float | None
    """A-AUROC for image_auroc: mean over tasks after the last step."""
    a_auroc_by_step: float | None
    """The same with the tasks of one step averaged first."""
    fm: float | None
    average: dict[str, float | None]
    last: dict[str, float | None]
    bwt: dict[str, float | None]
    mean_average: float | None
    mean_bwt: float | None


@dataclass(frozen=True)
class MeanDeviation:
    """One figure over runs; the deviation is that of a sample, None for a single run."""

    mean: float | None
    deviation: float | None
    runs: int


def tasks_of(run: Run) -> list[str]:
    """Tasks in the order in which the run learned them."""
    return [task for step in run.steps for task in step]


def matrix_of(run: Run, figure: str) -> continual.Matrix:
    """Matrix (steps measured, tasks) float64 of one figure, NaN where there is none."""
    tasks = tasks_of(run)
    matrix = np.full((len(run.results), len(tasks)), np.nan)
    for row, result in enumerate(run.results):
        for name, evaluation in result.measurement.evaluations.items():
            value = getattr(evaluation, figure)
            matrix[row, tasks.index(name)] = np.nan if value is None else value
    return matrix


def continual_of(run: Run, figure: str) -> Continual:
    """Continual metrics of one figure of a run."""
    matrix, tasks = matrix_of(run, figure), tasks_of(run)
    whole = len(run.results) == len(run.steps)
    nothing = np.full(len(tasks), np.nan)
    average = continual.average_since_introduction(matrix) if whole else nothing
    bwt = continual.backward_transfer(matrix) if whole else nothing
    by_step = [
        mean_defined([_defined(matrix[-1, tasks.index(name)]) for name in step])
        for step in run.steps
    ]
    return Continual(
        matrix=[[_defined(value) for value in row] for row in matrix],
        a_auroc=continual.average_auroc(matrix),
        a_auroc_by_step=mean_defined(by_step),
        fm=continual.forgetting_measure(matrix) if whole else None,
        average=_named(tasks, average),
        last=_named(tasks, continual.last(matrix)),
        bwt=_named(tasks, bwt),
        mean_average=mean_defined([_defined(value) for value in average]),
        mean_bwt=mean_defined([_defined(value) for value in bwt]),
    )


def _named(tasks: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    return {name: _defined(value) for name, value in zip(tasks, values, strict=True)}


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def spread(values: Sequence[float | None]) -> MeanDeviation:
    """Mean and deviation of the defined values."""
    defined = [value for value in values if value is not None]
    return MeanDeviation(
        mean(defined) if defined else None,
        stdev(defined) if len(defined) > 1 else None,
        len(defined),
    )


def costs_of(run: Run) -> dict[str, Cost]:
    """Cost of every model that the run learned for a measured step."""
    return {name: cost for result in run.results for name, cost in result.measurement.costs.items()}


def run_figures(run: Run) -> dict[str, float | None]:
    """Figures of one run: means over tasks after the last step, continual metrics, and costs."""
    final = run.results[-1].measurement
    image, pixel = continual_of(run, "image_auroc"), continual_of(run, "pixel_auroc")
    costs = costs_of(run).values()
    return {
        **mean_of(final.evaluations),
        "a_auroc": image.a_auroc,
        "a_auroc_by_step": image.a_auroc_by_step,
        "fm": image.fm,
        "average": image.mean_average,
        "bwt": image.mean_bwt,
        "pixel_fm": pixel.fm,
        "pixel_average": pixel.mean_average,
        "pixel_bwt": pixel.mean_bwt,
        "models": float(len(costs)),
        "seconds_per_model": mean(cost.seconds for cost in costs),
        "kept_bytes_per_task": final.kept_bytes / len(final.evaluations),
        "bundle_bytes": float(final.bundle_bytes),
    }


def summary_of(runs: Sequence[Run]) -> dict[str, MeanDeviation]:
    """Figures of `run_figures` over runs of one learner."""
    figures = [run_figures(run) for run in runs]
    return {name: spread([one[name] for one in figures]) for name in figures[0]}


def task_summary(runs: Sequence[Run]) -> dict[str, dict[str, MeanDeviation]]:
    """Figures of every task after the last step, over runs of one learner, tasks as first given."""
    return {
        task: {
            name: spread(
                [getattr(run.results[-1].measurement.evaluations[task], name) for run in runs]
            )
            for name in RATES
        }
        for task in tasks_of(runs[0])
    }


def all_parts(run: Run) -> Verdicts:
    """Verdicts on all test images after the last step, each image counting the same."""
    return pooled(run.results[-1].measurement.evaluations.values())


def widest(intervals: Iterable[Interval | None]) -> Interval | None:
    """Join the intervals of several runs: they judge the same images, so none may be narrowed."""
    defined = [one for one in intervals if one is not None]
    if not defined:
        return None
    return min(low for low, _ in defined), max(high for _, high in defined)


def over(runs: Sequence[Run]) -> str:
    """Say over how many runs figures are means; nothing for one."""
    count = len({(run.order, run.seed) for run in runs})
    return f", and mean ± deviation over {count} runs" if count > 1 else ""


def run_record(run: Run) -> dict[str, object]:
    """Lay out one run for ``protocol.json``."""
    return {
        "order": run.order,
        "seed": run.seed,
        "steps": [list(step) for step in run.steps],
        "tasks": tasks_of(run),
        "all_parts": asdict(all_parts(run)),
        "continual": {name: asdict(continual_of(run, name)) for name in CONTINUAL},
        "results": [result.model_dump(mode="json") for result in run.results],
    }


def learner_record(runs: Sequence[Run]) -> dict[str, object]:
    """Lay out the runs of one learner for ``protocol.json``."""
    return {
        "summary": {name: asdict(one) for name, one in summary_of(runs).items()},
        "tasks": {
            task: {name: asdict(one) for name, one in figures.items()}
            for task, figures in task_summary(runs).items()
        },
        "runs": [run_record(run) for run in runs],
    }


def by_learner(runs: Sequence[Run]) -> Mapping[str, list[Run]]:
    """Sort runs by learner, in the order in which the learners were first run."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.learner, []).append(run)
    return found
