"""From what was measured to the advice: front, setting to take, report on the other split."""

import shlex
from datetime import datetime, timezone

from cad_edge_benchmarks.advise.accuracy import SplitMetrics
from cad_edge_benchmarks.advise.pareto_front import Point, front, most_accurate, nearest, take
from cad_edge_benchmarks.advise.schema import (
    Advice,
    AdviceRequest,
    MeasuredSetting,
    ProductFacts,
    RefusedSetting,
    ReportedPair,
    Share,
)
from cad_edge_benchmarks.advise.search import SearchRequest, SweepResult
from cad_edge_benchmarks.advise.search_space import DEFAULT, Setting
from cad_edge_benchmarks.advise.trials import LearningOptions
from cad_edge_benchmarks.advise.validation_split import SplitImage
from cad_edge_benchmarks.instruments.environment import describe_environment
from cad_edge_benchmarks.instruments.meters import load_nvml
from cad_edge_benchmarks.instruments.report_schema import Budget

_MEGABYTE = 1e6


def recommend(request: SearchRequest, swept: SweepResult) -> Advice:
    """Draw the front and name the setting to take, of what was asked for and measured."""
    metrics = SplitMetrics(swept.data, "selection", request.shared.seed)
    points = _points(swept, metrics)
    taken = take(points, request.budgets, metrics.errors(swept.predictions))
    near = None if taken is not None else nearest(points, request.budgets)
    chosen = None if taken is None else _by_name(swept, taken)
    limits = {"ms": request.budgets.milliseconds, "MB": request.budgets.megabytes}
    return Advice(
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        asked=_asked(request),
        environment=describe_environment(load_nvml()),
        device=swept.predictions[DEFAULT].device,
        data_sha256=swept.data_sha256,
        products=_products(request, swept),
        settings=_measured(request, swept, points, metrics),
        refused=[RefusedSetting(name=name, reason=why) for name, why in swept.refused.items()],
        limits={unit: limit for unit, limit in limits.items() if limit is not None},
        taken=taken,
        nearest_name=near,
        nearest=[] if near is None else _misses(request, points, near),
        reported=None if taken is None else _reported(swept, taken, request.shared.seed),
        commands=[] if chosen is None else commands(chosen, request.shared, str(request.place)),
    )


def _by_name(swept: SweepResult, name: str) -> Setting:
    return next(one for one in swept.settings if one.name == name)


def _points(swept: SweepResult, metrics: SplitMetrics) -> list[Point]:
    return [
        Point(
            name=name,
            accuracy=metrics.accuracy(predictions).image_auroc,
            milliseconds=swept.latency[name].p90,
            megabytes=None if peak is None else peak / _MEGABYTE,
            task_bytes=predictions.task_bytes,
        )
        for name, predictions in swept.predictions.items()
        for peak in (swept.peak_memory[name],)
    ]


def _measured(
    request: SearchRequest, swept: SweepResult, points: list[Point], metrics: SplitMetrics
) -> list[MeasuredSetting]:
    on_front = front([(point.accuracy, point.milliseconds) for point in points])
    within = [point for point in points if request.budgets.kept(point)]
    leader = most_accurate(within or points)
    error = metrics.errors(swept.predictions)
    found = []
    for one, point, best in zip(swept.settings, points, on_front, strict=True):
        predictions, latency = swept.predictions[one.name], swept.latency[one.name]
        found.append(
            MeasuredSetting(
                name=one.name,
                changes=dict(one.changes),
                size=predictions.size,
                options=list(one.options),
                precision=one.precision,
                accuracy=metrics.accuracy(predictions),
                to_best=point.accuracy - leader.accuracy,
                to_best_error=error(leader.name, one.name),
                p50=latency.p50,
                p90=latency.p90,
                frames=latency.samples,
                peak_memory=swept.peak_memory[one.name],
                task_bytes=predictions.task_bytes,
                bundle_bytes=predictions.bundle_bytes,
                on_front=best,
                within=request.budgets.kept(point),
            )
        )
    return found


def _misses(request: SearchRequest, points: list[Point], name: str) -> list[Budget]:
    """Hold each stated budget against what a setting takes."""
    point = next(one for one in points if one.name == name)
    found = []
    if request.budgets.milliseconds is not None:
        limit, took = request.budgets.milliseconds, point.milliseconds
        found.append(Budget(name="p90 of a frame", limit=limit, measured=took, unit="ms"))
    if request.budgets.megabytes is not None and point.megabytes is not None:
        limit, took = request.budgets.megabytes, point.megabytes
        found.append(Budget(name="peak resident memory", limit=limit, measured=took, unit="MB"))
    return found


def _reported(swept: SweepResult, taken: str, seed: int) -> ReportedPair:
    metrics = SplitMetrics(swept.data, "evaluation", seed)
    chosen = metrics.accuracy(swept.predictions[taken])
    default = metrics.accuracy(swept.predictions[DEFAULT])
    return ReportedPair(
        taken=chosen,
        default=default,
        difference=chosen.image_auroc - default.image_auroc,
        difference_error=metrics.errors(swept.predictions)(taken, DEFAULT),
    )


def _products(request: SearchRequest, swept: SweepResult) -> list[ProductFacts]:
    found = []
    for task in request.stream.tasks:
        splits = swept.data.products[task.name]
        found.append(
            ProductFacts(
                name=task.name,
                path=str(task.path),
                learned=splits.learned,
                selection=_defective(splits.selection),
                evaluation=_defective(splits.evaluation),
                synthetic=splits.synthetic,
            )
        )
    return found


def _defective(images: tuple[SplitImage, ...]) -> Share:
    return Share(hits=sum(one.image.anomalous for one in images), total=len(images))


def _asked(request: SearchRequest) -> AdviceRequest:
    shared = request.shared
    return AdviceRequest(
        data=str(request.place),
        method=shared.method,
        backbone=shared.backbone,
        fixed=list(request.space.setting({}).options),
        axes={axis.name: list(axis.values) for axis in request.space.axes},
        seed=shared.seed,
        threads=shared.threads,
        device=shared.device,
    )


def commands(setting: Setting, shared: LearningOptions, stream: str) -> list[str]:
    """Write the two commands that learn and export ``setting``; defaults are left out."""
    from cad_edge_training.backbones import DEFAULT_BACKBONE

    own = [] if shared.backbone == DEFAULT_BACKBONE else ["--backbone", shared.backbone]
    train = ["train", "--stream", stream, "--out", "artifacts", "--method", shared.method]
    train += own
    train += ["--size", str(setting.size)] if setting.size is not None else []
    train += [word for option in setting.options for word in ("--set", option)]
    train += ["--seed", str(shared.seed)]
    export = ["export", "artifacts", "--bundle", "bundle", *own, "--precision", setting.precision]
    if setting.precision in ("int8", "uint8"):
        export += ["--calibration", stream]
    return [shlex.join(["cad-edge", *words]) for words in (train, export)]
