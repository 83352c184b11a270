"""The settings as a table: the front first, the dominated ones below."""

from cad_edge_benchmarks.advise.schema import Advice, Measured
from cad_edge_benchmarks.advise.sentences import accuracy
from cad_edge_benchmarks.reporting.tables import UNDEFINED, figure

HEAD = (
    "setting",
    "image AUROC",
    "to the best",
    "pixel AUROC",
    "ms p50",
    "ms p90",
    "MB",
    "kB per task",
    "precision",
)


def ranked(advice: Advice) -> tuple[list[Measured], list[Measured]]:
    """Split into the front, fastest first, and the others, most accurate first."""
    best = [one for one in advice.settings if one.on_front]
    rest = [one for one in advice.settings if not one.on_front]
    return (
        sorted(best, key=lambda one: one.p90),
        sorted(rest, key=lambda one: -one.accuracy.image_auroc),
    )


def row(setting: Measured) -> list[str]:
    """Cells of one setting, in the order of `HEAD`."""
    peak = UNDEFINED if setting.peak_memory is None else f"{setting.peak_memory / 1e6:.0f}"
    return [
        setting.name,
        accuracy(setting.accuracy),
        f"{setting.to_best:+.3f} ± {setting.to_best_error:.3f}",
        figure(setting.accuracy.pixel_auroc),
        f"{setting.p50:.1f}",
        f"{setting.p90:.1f}",
        peak,
        f"{setting.task_bytes / 1000:.0f}",
        setting.precision,
    ]
