"""Budgets: limits that a bundle must keep on a machine, for a pipeline to check."""

from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.cold_start import memory_is_told
from cad_edge_benchmarks.instruments.report_schema import Budget, MemoryUse, ScenarioResult

_MEGABYTE = 1e6


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
