"""What a table of a protocol's report is, whether for terminal, Markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from cad_edge_benchmarks.protocol.compat import Compat
from cad_edge_benchmarks.protocol.run import Run
from cad_edge_benchmarks.protocol.summary import Spread

UNDEFINED = "undefined"
NOT_YET = ""
Warned = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One table; ``red`` are the columns that a switch touches, counted from 0."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    red: frozenset[int] = frozenset()
    warnings: tuple[str, ...] = ()
    """What to print in red above the table."""
    detail: bool = False
    """Whether it is left out in a terminal."""
    linked: bool = True
    """Whether the contents of the page lead to it."""


def shown(value: float | None, digits: int = 3) -> str:
    """Write a figure; undefined ones are called so."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def shown_spread(value: Spread, digits: int = 3) -> str:
    """Write a mean, with its deviation where there are several runs."""
    if value.mean is None or value.deviation is None:
        return shown(value.mean, digits)
    return f"{value.mean:.{digits}f} ± {value.deviation:.{digits}f}"


def touched(sources: Sequence[str], compats: Sequence[Compat]) -> tuple[frozenset[int], Warned]:
    """Columns (the first holds names) that switches touch, and the warnings of these switches."""
    red = {
        column
        for column, source in enumerate(sources, 1)
        if any(source in compat.touches for compat in compats)
    }
    switches = [compat for compat in compats if compat.touches & set(sources)]
    return frozenset(red), tuple(f"{one.label}: {one.meaning}" for one in switches)


def over(runs: Sequence[Run]) -> str:
    """Say over how many runs figures are means; nothing for one."""
    count = len({(run.order, run.seed) for run in runs})
    return f", and mean ± deviation over {count} runs" if count > 1 else ""
