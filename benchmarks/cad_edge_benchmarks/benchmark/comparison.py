"""Two reports against each other: ratios, and which of them are noise.

Each measurement keeps the medians of ten stretches of its run. The interval of a ratio reaches from
the lower quartile of the new medians over the upper quartile of the old ones to the upper over the
lower; only where 1 lies outside do the two runs differ by more than each varies in itself. A plain
bootstrap over frames would be far too sure: neighbouring frames are slow together. What changes
between runs and not within one (another boot, another neighbour on the machine) is not in it.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from cad_edge_benchmarks.benchmark.schema import (
    Comparison,
    Difference,
    Distribution,
    Environment,
    Report,
    Spread,
)

_MACHINE = ("model", "cpu", "cpu_identity", "cores", "memory_bytes", "gpus")
_CONDITIONS = ("system", "release", "python", "governor", "power_mode", "versions")
_SETTINGS = ("threads", "streams")


def compare(new: Report, old: Report, source: str) -> Comparison:
    """Compare every figure that both reports have; ``source`` names the old one."""
    after, before = dict(_figures(new)), dict(_figures(old))
    return Comparison(
        against=source,
        made_at=old.made_at,
        unlike=unlike(new, old),
        differences=[
            difference(name, before[name], after[name]) for name in after if name in before
        ],
        missing=[
            *(f"{name} (not measured then)" for name in after if name not in before),
            *(f"{name} (not measured now)" for name in before if name not in after),
        ],
    )


def difference(name: str, before: tuple[str, Spread], after: tuple[str, Spread]) -> Difference:
    """Compare one figure, given as its unit and its spread; values are above 0."""
    unit, old = before
    _, new = after
    return Difference(
        name=name,
        unit=unit,
        before=old.median,
        after=new.median,
        ratio=new.median / old.median,
        low=new.low / old.high,
        high=new.high / old.low,
    )


def _figures(report: Report) -> Iterator[tuple[str, tuple[str, Spread]]]:
    """Every figure that two runs can be compared by."""
    for result in report.scenarios:
        for one in result.measurements:
            yield f"{result.scenario}: {one.name}", ("ms", quartiles(one.latency))
    for point in report.scale:
        yield f"scale: selection of {point.tasks} tasks", ("ms", quartiles(point.selection))
        yield f"scale: open {point.tasks} tasks", ("s", point.open_seconds)
    if report.memory is not None:
        yield "memory: peak resident", ("B", report.memory.peak_rss)
        yield "memory: unique", ("B", report.memory.uss)


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
