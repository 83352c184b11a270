"""From what was measured to the advice: front, setting to take, report on the other half."""

import shlex
from datetime import datetime, timezone

from cad_edge_benchmarks.advise.accuracy import Jury
from cad_edge_benchmarks.advise.pareto_front import Point, front, most_accurate, nearest, take
from cad_edge_benchmarks.advise.schema import (
    Advice,
    Asked,
    Measured,
    ProductFacts,
    Refused,
    ReportedPair,
    Share,
)
from cad_edge_benchmarks.advise.search import Order, Swept
from cad_edge_benchmarks.advise.search_space import DEFAULT, Setting
from cad_edge_benchmarks.advise.synthetic_anomalies import Part
from cad_edge_benchmarks.advise.trials import Taught
from cad_edge_benchmarks.instruments.environment import describe_environment
from cad_edge_benchmarks.instruments.meters import load_nvml
from cad_edge_benchmarks.instruments.report_schema import Budget

_MEGABYTE = 1e6


def judge(order: Order, swept: Swept, stream_file: str) -> Advice:
    """Draw the front and name the setting to take.

    Parameters
    ----------
    order, swept
        What was asked for and measured.
    stream_file
        Name of the stream file in the commands.
    """
    jury = Jury(swept.line, "choosing", order.taught.seed)
    points = _points(swept, jury)
    taken = take(points, order.budgets, jury.errors(swept.answers))
    near = None if taken is not None else nearest(points, order.budgets)
    chosen = None if taken is None else _by_name(swept, taken)
    limits = {"ms": order.budgets.milliseconds, "MB": order.budgets.megabytes}
    return Advice(
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        asked=_asked(order),
        environment=describe_environment(load_nvml()),
        device=swept.answers[DEFAULT].device,
        data_sha256=swept.data_sha256,
        products=_products(order, swept),
        settings=_measured(order, swept, points, jury),
        refused=[Refused(name=name, reason=why) for name, why in swept.refused.items()],
        limits={unit: limit for unit, limit in limits.items() if limit is not None},
        taken=taken,
        nearest_name=near,
        nearest=[] if near is None else _misses(order, points, near),
        reported=None if taken is None else _reported(swept, taken, order.taught.seed),
        commands=[] if chosen is None else commands(chosen, order.taught, stream_file),
    )


def _by_name(swept: Swept, name: str) -> Setting:
    return next(one for one in swept.settings if one.name == name)


def _points(swept: Swept, jury: Jury) -> list[Point]:
    found = []
    for one in swept.settings:
        peak = swept.peak_memory[one.name]
        answers = swept.answers[one.name]
        found.append(
            Point(
                name=one.name,
                accuracy=jury.accuracy(answers).image_auroc,
                milliseconds=swept.latency[one.name].p90,
                megabytes=None if peak is None else peak / _MEGABYTE,
                task_bytes=answers.task_bytes,
            )
        )
    return found


def _measured(order: Order, swept: Swept, points: list[Point], jury: Jury) -> list[Measured]:
    on_front = front([(point.accuracy, point.milliseconds) for point in points])
    within = [point for point in points if order.budgets.kept(point)]
    leader = most_accurate(within or points)
    error = jury.errors(swept.answers)
    found = []
    for one, point, best in zip(swept.settings, points, on_front, strict=True):
        answers, latency = swept.answers[one.name], swept.latency[one.name]
        found.append(
            Measured(
                name=one.name,
                changes=dict(one.changes),
                size=answers.size,
                options=list(one.options),
                precision=one.precision,
                accuracy=jury.accuracy(answers),
                to_best=point.accuracy - leader.accuracy,
                to_best_error=error(leader.name, one.name),
                p50=latency.p50,
                p90=latency.p90,
                frames=latency.samples,
                peak_memory=swept.peak_memory[one.name],
                task_bytes=answers.task_bytes,
                bundle_bytes=answers.bundle_bytes,
                on_front=best,
                within=order.budgets.kept(point),
            )
        )
    return found


def _misses(order: Order, points: list[Point], name: str) -> list[Budget]:
    """Hold each stated budget against what a setting takes."""
    point = next(one for one in points if one.name == name)
    found = []
    if order.budgets.milliseconds is not None:
        limit, took = order.budgets.milliseconds, point.milliseconds
        found.append(Budget(name="p90 of a frame", limit=limit, measured=took, unit="ms"))
    if order.budgets.megabytes is not None and point.megabytes is not None:
        limit, took = order.budgets.megabytes, point.megabytes
        found.append(Budget(name="peak resident memory", limit=limit, measured=took, unit="MB"))
    return found


def _reported(swept: Swept, taken: str, seed: int) -> ReportedPair:
    jury = Jury(swept.line, "reporting", seed)
    chosen = jury.accuracy(swept.answers[taken])
    default = jury.accuracy(swept.answers[DEFAULT])
    return ReportedPair(
        taken=chosen,
        default=default,
        difference=chosen.image_auroc - default.image_auroc,
        difference_error=jury.errors(swept.answers)(taken, DEFAULT),
    )


def _products(order: Order, swept: Swept) -> list[ProductFacts]:
    found = []
    for task in order.stream.tasks:
        halves = swept.line.halves[task.name]
        found.append(
            ProductFacts(
                name=task.name,
                path=str(task.path),
                learned=halves.learned,
                choosing=_defective(halves.choosing),
                reporting=_defective(halves.reporting),
                stand_in=halves.stand_in,
            )
        )
    return found


def _defective(parts: tuple[Part, ...]) -> Share:
    return Share(hits=sum(part.image.anomalous for part in parts), total=len(parts))


def _asked(order: Order) -> Asked:
    taught = order.taught
    return Asked(
        data=str(order.data),
        method=taught.method,
        backbone=taught.backbone,
        fixed=list(order.space.setting({}).options),
        axes={axis.name: list(axis.values) for axis in order.space.axes},
        seed=taught.seed,
        threads=taught.threads,
        device=taught.device,
    )


def commands(setting: Setting, taught: Taught, stream_file: str) -> list[str]:
    """Write the two commands that learn and export ``setting``; defaults are left out."""
    from cad_edge_training.backbones import DEFAULT_BACKBONE

    own = [] if taught.backbone == DEFAULT_BACKBONE else ["--backbone", taught.backbone]
    train = ["train", "--stream", stream_file, "--out", "artifacts", "--method", taught.method]
    train += own
    train += ["--size", str(setting.size)] if setting.size is not None else []
    train += [word for option in setting.options for word in ("--set", option)]
    train += ["--seed", str(taught.seed)]
    export = ["export", "artifacts", "--bundle", "bundle", *own, "--precision", setting.precision]
    if setting.precision in ("int8", "uint8"):
        export += ["--calibration", stream_file]
    return [shlex.join(["cad-edge", *words]) for words in (train, export)]
