"""A run against an earlier one, which another version may have written: which ratios are noise.

Each measurement keeps the medians of ten stretches of its run. The interval of a ratio reaches from
the lower quartile of the new medians over the upper quartile of the old ones to the upper over the
lower: where 1 lies outside, the runs differ by more than each varies in itself. A bootstrap over
frames would be far too sure, because neighbouring frames are slow together.

What changes between runs and not within one is taken up in two ways: the interval is extended by
what the reference workload says of the machine, and by the few percent that the same program is
faster or slower through where its memory happens to lie (Mytkowicz et al. 2009).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from cad_edge.errors import OptionError
from cad_edge.schema import first_problem
from cad_edge.store.plain_file import RECORD_BYTES, read_plain
from cad_edge_benchmarks.instruments.report_schema import (
    FORMAT,
    KIND,
    BenchmarkReport,
    Comparison,
    Difference,
    Distribution,
    Spread,
)

_PLACEMENT = 1.03  # ratio of two runs of one program that means nothing
_SAME = Spread(median=1.0, low=1.0, high=1.0)
_MACHINE = ("model", "cpu", "cpu_identity", "cores", "memory_bytes", "gpus")
_CONDITIONS = ("system", "release", "python", "governor", "power_mode", "versions")


_ONE_BY_ONE = ("scenarios", "scale")
"""Lists of a report whose members stand for themselves: one that cannot be read is left out."""
_OPTIONAL: dict[str, object] = {"memory": None, "comparison": None, "budgets": []}
"""What else may be left out, and what a report without it has."""
_RENAMED = {"yardstick": "reference_workload"}  # keys of scenarios of older versions


@dataclass(frozen=True)
class PreviousReport:
    """A report to compare with."""

    source: str
    report: BenchmarkReport
    foreign: tuple[str, ...] = ()
    """What of the file this version does not know or lacks, as sentences."""


def read_previous_report(path: Path) -> PreviousReport:
    """Read the JSON of an earlier run; of another schema, whatever can be understood.

    Raises
    ------
    OptionError
        The file is not there, is no report, or lacks what every comparison needs.
    """
    record = _record(path)
    foreign = []
    if record.get("format") != FORMAT:
        foreign.append(f"format was {record.get('format')}, this version reads {FORMAT}")
        record["format"] = FORMAT
    while True:
        try:
            # Through JSON, where a list may stand for a tuple, as in any file.
            report = BenchmarkReport.model_validate_json(json.dumps(record))
            break
        except ValidationError as problem:
            name = _forget(record, problem)
            if name is None:
                raise OptionError(
                    f"--against {path} cannot be compared with: {first_problem(problem)}; measure "
                    "again with this version"
                ) from None
            foreign.append(f"{name} is left out")
    sentences = tuple(f"another schema: {one}" for one in dict.fromkeys(foreign))
    return PreviousReport(str(path), report, sentences)


def _record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_plain(path, RECORD_BYTES, follow=True))
    except OSError as problem:
        raise OptionError(f"--against {path} cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise OptionError(
            f"--against {path} is not a report of `cad-edge benchmark`; give the JSON that its "
            "--out wrote"
        )
    for scenario in found.get("scenarios") or ():
        for old in {*_RENAMED} & {*scenario}:
            scenario[_RENAMED[old]] = scenario.pop(old)
    return found


def _forget(record: dict[str, Any], problem: ValidationError) -> str | None:
    """Take one part that cannot be read out of ``record``; its name, None where it is needed.

    Unknown keys go first: what is wrong besides is seen when they are gone.
    """
    errors = problem.errors(include_url=False)
    first = min(errors, key=lambda one: one["type"] != "extra_forbidden")
    place = first["loc"]
    if first["type"] == "extra_forbidden":
        owner: Any = record
        for part in place[:-1]:
            owner = owner[part]
        del owner[place[-1]]
        return ".".join(map(str, place))
    part = str(place[0])
    if part in _ONE_BY_ONE and len(place) > 1:
        gone = record[part].pop(place[1])
        return f"{part} {gone.get('scenario', place[1]) if isinstance(gone, dict) else place[1]}"
    if part not in _OPTIONAL:
        return None
    record[part] = _OPTIONAL[part]
    return part


@dataclass(frozen=True)
class ComparedFigure:
    """A figure above 0 that two runs can be compared by, with the reference workload beside it."""

    unit: str
    value: Spread
    reference: Spread = _SAME


def compare(new: BenchmarkReport, previous: PreviousReport) -> Comparison:
    """Compare every figure that both reports have."""
    old = previous.report
    after, before = dict(_figures(new)), dict(_figures(old))
    return Comparison(
        against=previous.source,
        made_at=old.made_at,
        unlike=[*previous.foreign, *unlike(new, old)],
        differences=[
            difference(name, before[name], after[name]) for name in after if name in before
        ],
        missing=[
            *(f"{name} (not measured then)" for name in _absent(after, before)),
            *(f"{name} (not measured now)" for name in _absent(before, after)),
        ],
    )


def _absent(these: Iterable[str], others: Iterable[str]) -> list[str]:
    """Names that only ``these`` hold; a scenario that is absent altogether as one name."""
    known = {*others}
    scenarios = {name.partition(":")[0] for name in known}
    found = [(name, name.partition(":")[0]) for name in these if name not in known]
    return list(dict.fromkeys(name if group in scenarios else group for name, group in found))


def difference(name: str, before: ComparedFigure, after: ComparedFigure) -> Difference:
    """Compare one figure.

    With r the ratio and y that of the reference workload, both with an interval, the answer lies
    between r, where the machine had no part in it, and r / y, where it had all.
    """
    ratio = _divided(after.value, before.value)
    machine = _divided(after.reference, before.reference)
    return Difference(
        name=name,
        unit=after.unit,
        before=before.value.median,
        after=after.value.median,
        ratio=ratio.median,
        machine=machine.median,
        low=min(ratio.low, ratio.low / machine.high) / _PLACEMENT,
        high=max(ratio.high, ratio.high / machine.low) * _PLACEMENT,
    )


def _divided(new: Spread, old: Spread) -> Spread:
    return Spread(median=new.median / old.median, low=new.low / old.high, high=new.high / old.low)


def _figures(report: BenchmarkReport) -> Iterator[tuple[str, ComparedFigure]]:
    """Every figure that two runs can be compared by."""
    for result in report.scenarios:
        reference = result.reference_workload or _SAME
        for one in result.measurements:
            times = quartiles(one.latency)
            yield f"{result.scenario}: {one.name}", ComparedFigure("ms", times, reference)
        for point in report.scale if result.scenario == "scale" else ():
            chosen = ComparedFigure("ms", quartiles(point.selection), reference)
            opened = ComparedFigure("s", point.open_seconds, reference)
            yield f"scale: selection alone, {point.tasks}", chosen
            yield f"scale: open the bundle, {point.tasks}", opened
    if report.memory is not None:
        yield "memory: peak resident", ComparedFigure("B", report.memory.peak_rss)
        yield "memory: unique", ComparedFigure("B", report.memory.uss)


def quartiles(times: Distribution) -> Spread:
    """Median of the run, with the quartiles of the medians of its stretches around it."""
    low, high = np.percentile(times.stretches, [25, 75])
    return Spread(
        median=times.p50, low=min(float(low), times.p50), high=max(float(high), times.p50)
    )


def unlike(new: BenchmarkReport, old: BenchmarkReport) -> list[str]:
    """Say in a sentence each what differs besides the figures, the machine first."""
    kinds = {
        "another machine": (_MACHINE, new.environment, old.environment),
        "another device": (("provider",), new, old),
        "another system": (_CONDITIONS, new.environment, old.environment),
        "other settings": (("threads", "streams"), new.settings, old.settings),
        "other frames": (("source", "sizes"), new.frames, old.frames),
    }
    found = [
        sentence
        for what, (names, now, then) in kinds.items()
        for name in names
        for sentence in _pair(what, name, getattr(now, name), getattr(then, name))
    ]
    found += _pair("another bundle", "tasks", len(new.bundle.tasks), len(old.bundle.tasks))
    if new.bundle.graphs != old.bundle.graphs:
        same = len({*new.bundle.graphs} & {*old.bundle.graphs})
        found.append(
            f"another bundle: {same} of {len(new.bundle.graphs)} graphs are those of the other run"
        )
    return found


def _pair(what: str, name: str, new: object, old: object) -> list[str]:
    if new == old:
        return []
    if isinstance(new, dict) and isinstance(old, dict):
        pairs = {key: (new.get(key, "absent"), old.get(key, "absent")) for key in {**old, **new}}
        return [one for key, pair in pairs.items() for one in _pair(what, f"{name} {key}", *pair)]
    return [f"{what}: {name} was {_shown(old)}, now {_shown(new)}"]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value) or "none"
    return "not told" if value is None else str(getattr(value, "name", value))
