"""Two reports against each other: ratios, and which of them are noise.

Each measurement keeps the medians of ten stretches of its run. The interval of a ratio reaches from
the lower quartile of the new medians over the upper quartile of the old ones to the upper over the
lower: where 1 lies outside, the runs differ by more than each varies in itself. A bootstrap over
frames would be far too sure, because neighbouring frames are slow together.

What changes between runs and not within one is taken up in two ways: the interval is extended by
what the yardstick says of the machine, and by the few percent that the same program is faster or
slower through where its memory happens to lie (Mytkowicz et al. 2009).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cad_edge_benchmarks.benchmark.previous_report import Earlier
from cad_edge_benchmarks.instruments.conditions import Environment
from cad_edge_benchmarks.instruments.report_schema import (
    Comparison,
    Difference,
    Distribution,
    Report,
    Spread,
)

_PLACEMENT = 1.03  # ratio of two runs of one program that means nothing
_SAME = Spread(median=1.0, low=1.0, high=1.0)
_MACHINE = ("model", "cpu", "cpu_identity", "cores", "memory_bytes", "gpus")
_CONDITIONS = ("system", "release", "python", "governor", "power_mode", "versions")
_SETTINGS = ("threads", "streams")


@dataclass(frozen=True)
class Comparable:
    """A figure above 0 that two runs can be compared by, with the yardstick beside it."""

    unit: str
    value: Spread
    yardstick: Spread = _SAME


def compare(new: Report, earlier: Earlier) -> Comparison:
    """Compare every figure that both reports have."""
    old = earlier.report
    after, before = dict(_figures(new)), dict(_figures(old))
    return Comparison(
        against=earlier.source,
        made_at=old.made_at,
        unlike=[*earlier.foreign, *unlike(new, old)],
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
    found = [name for name in these if name not in known]
    groups = (name.partition(":")[0] for name in found)
    return list(
        dict.fromkeys(
            name if group in scenarios else group for name, group in zip(found, groups, strict=True)
        )
    )


def difference(name: str, before: Comparable, after: Comparable) -> Difference:
    """Compare one figure.

    With r the ratio and y that of the yardstick, both with an interval, the answer lies between r,
    where the machine had no part in it, and r / y, where it had all.
    """
    ratio = _divided(after.value, before.value)
    machine = _divided(after.yardstick, before.yardstick)
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


def _figures(report: Report) -> Iterator[tuple[str, Comparable]]:
    """Every figure that two runs can be compared by."""
    for result in report.scenarios:
        yardstick = result.yardstick or _SAME
        for one in result.measurements:
            times = quartiles(one.latency)
            yield f"{result.scenario}: {one.name}", Comparable("ms", times, yardstick)
        for point in report.scale if result.scenario == "scale" else ():
            chosen = Comparable("ms", quartiles(point.selection), yardstick)
            opened = Comparable("s", point.open_seconds, yardstick)
            yield f"scale: selection alone, {point.tasks}", chosen
            yield f"scale: open the bundle, {point.tasks}", opened
    if report.memory is not None:
        yield "memory: peak resident", Comparable("B", report.memory.peak_rss)
        yield "memory: unique", Comparable("B", report.memory.uss)


def quartiles(times: Distribution) -> Spread:
    """Median of the run, with the quartiles of the medians of its stretches around it."""
    low, high = np.percentile(times.stretches, [25, 75])
    return Spread(
        median=times.p50, low=min(float(low), times.p50), high=max(float(high), times.p50)
    )


def unlike(new: Report, old: Report) -> list[str]:
    """Say in a sentence each what differs besides the figures, the machine first."""
    found = _differing("another machine", _MACHINE, new.environment, old.environment)
    found += _pair("another device", "provider", new.provider, old.provider)
    found += _differing("another system", _CONDITIONS, new.environment, old.environment)
    for name in _SETTINGS:
        pair = getattr(new.settings, name), getattr(old.settings, name)
        found += _pair("other settings", name, *pair)
    found += _pair("other frames", "source", new.frames.source, old.frames.source)
    found += _pair("other frames", "sizes", new.frames.sizes, old.frames.sizes)
    found += _pair("another bundle", "tasks", len(new.bundle.tasks), len(old.bundle.tasks))
    if new.bundle.graphs != old.bundle.graphs:
        same = len({*new.bundle.graphs} & {*old.bundle.graphs})
        found.append(
            f"another bundle: {same} of {len(new.bundle.graphs)} graphs are those of the other run"
        )
    return found


def _differing(what: str, names: Sequence[str], new: Environment, old: Environment) -> list[str]:
    return [
        sentence
        for name in names
        for sentence in _pair(what, name, getattr(new, name), getattr(old, name))
    ]


def _pair(what: str, name: str, new: object, old: object) -> list[str]:
    if new == old:
        return []
    if isinstance(new, dict) and isinstance(old, dict):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        return [
            f"{what}: {name} {key} was {old.get(key, 'absent')}, now {new.get(key, 'absent')}"
            for key in keys
        ]
    return [f"{what}: {name} was {_shown(old)}, now {_shown(new)}"]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value) or "none"
    return "not told" if value is None else str(getattr(value, "name", value))
