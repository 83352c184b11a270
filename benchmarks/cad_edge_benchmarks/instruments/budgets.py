"""Budgets: limits that a bundle must keep on a machine, for a pipeline to check."""

import math

import click

from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.cold_start import memory_is_told
from cad_edge_benchmarks.instruments.report_schema import Budget, MemoryUse, ScenarioResult

_MEGABYTE = 1e6


def positive(option: str, value: float) -> float:
    """Return ``value``; OptionError unless it is a finite number above 0."""
    if not math.isfinite(value) or value <= 0:
        raise OptionError(f"{option} {value:g} is not allowed; give a number above 0")
    return value


def limit(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Check an option of the command line that states a limit, as a callback of click."""
    return None if value is None else positive(option.opts[0], value)


def check_memory_budget(megabytes: float | None) -> None:
    """Raise OptionError for a limit of memory where the system does not tell it."""
    if megabytes is not None and not memory_is_told():
        raise OptionError("--budget-mb needs Linux, whose kernel tells the memory of a process")


def judge_budgets(
    milliseconds: float | None,
    megabytes: float | None,
    single_stream: ScenarioResult | None,
    memory: MemoryUse | None,
) -> list[Budget]:
    """Hold the stated limits against what was measured.

    Parameters
    ----------
    milliseconds
        Limit of the headline of single-stream, its 90th percentile; None where none was stated.
    megabytes
        Limit of the peak resident memory of a device process, in 10^6 bytes.
    single_stream, memory
        What was measured; not None where its limit was stated.
    """
    found = []
    if milliseconds is not None and single_stream is not None:
        main = single_stream.measured(single_stream.headline)
        name = f"single-stream, {main.name}, p90"
        found.append(Budget(name=name, limit=milliseconds, measured=main.latency.p90, unit="ms"))
    if megabytes is not None and memory is not None:
        peak = memory.peak_rss.median / _MEGABYTE
        found.append(Budget(name="peak resident memory", limit=megabytes, measured=peak, unit="MB"))
    return found
