"""The advice as a report: the setting to take, how good it is, and all that were tried."""

from collections.abc import Sequence

from cad_edge_benchmarks.advise.plot import accuracy_plot
from cad_edge_benchmarks.advise.schema import Accuracy, Advice, MeasuredSetting, ProductFacts, Share
from cad_edge_benchmarks.reporting.document import (
    Block,
    Cell,
    Code,
    Document,
    Figure,
    Section,
    Table,
    Warn,
)
from cad_edge_benchmarks.reporting.tables import UNDEFINED, figure

FEW = 5
"""With fewer images of a class a bootstrap cannot see how far a figure may lie off."""

_MEGABYTE = 1e6
_SETTINGS = (
    *("setting", "image AUROC", "to the best", "pixel AUROC"),
    *("ms p50", "ms p90", "MB", "kB per task", "precision"),
)
_PRODUCTS = (
    *("product", "learned from", "selection", "evaluation"),
    *("AUROC taken", "AUROC default", "defects"),
)

RULES = (
    "One half of the test images of every product, the selection split, chose; the other half, the "
    "evaluation split, reports. Figures in the tables of settings are of the selection split, so "
    "the best of them are hopeful. ± is one standard error, by a bootstrap over images; a figure "
    "of exactly 1 shows none, whatever it may hide.",
    "Settings that keep the budgets and whose AUROC lies within the standard error of the "
    "difference to the best of them (column to the best, bars in the plot) count as equal; of "
    "these the fastest is taken, and of about equally fast ones the smallest.",
    "Milliseconds are of a routed frame at the size of the input, without decoding and resizing; "
    "all settings took turns in one process. MB is the peak resident memory of a device process.",
)
"""How the figures came about."""


def advice_document(advice: Advice) -> Document:
    """Lay out the advice."""
    best = sorted((one for one in advice.settings if one.on_front), key=lambda one: one.p90)
    rest = [one for one in advice.settings if not one.on_front]
    rest.sort(key=lambda one: -one.accuracy.image_auroc)
    plot = Figure(accuracy_plot(advice), "Image AUROC against milliseconds.", "advice.svg")
    sections = [
        Section("plot", "Accuracy against time", (plot,)),
        Section("front", "On the front, from the fastest", (_settings(best, advice),)),
    ]
    if rest:
        sections.append(Section("dominated", "Dominated", (_settings(rest, advice),)))
    if advice.refused:
        refused = [[one.name, one.reason] for one in advice.refused]
        sections.append(Section("refused", "Refused", (Table(("", ""), refused, is_list=True),)))
    how = (*RULES, made_with(advice))
    sections += [
        Section("products", "Products", (_products(advice),), in_terminal=False),
        Section("how", "How", how, in_terminal=False),
    ]
    commands = [Code("\n".join(advice.commands))] if advice.commands else []
    lead: list[Block] = [*_reported(advice), *map(Warn, warnings(advice)), *commands]
    return Document("cad-edge advice", headline(advice), tuple(lead), tuple(sections))


def headline(advice: Advice) -> str:
    """Name the setting to take, or the one that misses the budgets by least."""
    limits = " and ".join(f"{limit:g} {unit}" for unit, limit in advice.limits.items())
    if advice.taken is None:
        assert advice.nearest_name is not None
        misses = ", and ".join(
            f"{one.name} is {one.measured:.1f} {one.unit} against {one.limit:g} {one.unit} "
            f"({one.measured / one.limit:.2f} times)"
            for one in advice.nearest
            if not one.kept
        )
        nearest = _quoted(advice.nearest_name)
        return f"No setting keeps {limits}. The nearest is {nearest}: {misses}."
    kept = f", within {limits}" if limits else ""
    return f"Take {_quoted(advice.taken)}: {_costs(advice.setting(advice.taken))}{kept}."


def _quoted(name: str) -> str:
    return "the default settings" if name == "default" else f"“{name}”"


def _costs(setting: MeasuredSetting) -> str:
    parts = [f"{setting.p90:.1f} ms a frame (90th percentile)"]
    if setting.peak_memory is not None:
        parts.append(f"{setting.peak_memory / _MEGABYTE:.0f} MB")
    parts.append(f"{setting.task_bytes / 1000:.0f} kB a task")
    return ", ".join(parts)


def _reported(advice: Advice) -> list[str]:
    """Say how accurate it is on images that had no part in the choice."""
    pair = advice.reported
    if pair is None:
        return []
    total = pair.taken.routed_good.total + pair.taken.routed_defective.total
    text = f"On the {total} test images that had no part in the choice: {_figures(pair.taken)}"
    if advice.taken != "default":
        text += (
            f"; the default has {_figures(pair.default)} (difference {pair.difference:+.3f} ± "
            f"{pair.difference_error:.3f})"
        )
    return [f"{text}."]


def _figures(found: Accuracy) -> str:
    good, defective = found.routed_good, found.routed_defective
    return (
        f"image AUROC {_auroc(found)}, pixel AUROC {figure(found.pixel_auroc)}, {good.hits} of "
        f"{good.total} good and {defective.hits} of {defective.total} defective images recognised "
        "as their product"
    )


def _auroc(found: Accuracy) -> str:
    return f"{found.image_auroc:.3f} ± {found.error:.3f}"


def warnings(advice: Advice) -> list[str]:
    """Say what the figures cannot be trusted for."""
    found = []
    if synthetic := [one for one in advice.products if one.synthetic is not None]:
        named = ", ".join(f"{one.name} ({one.synthetic})" for one in synthetic)
        found.append(
            f"Synthetic anomalies chose here, not real ones: {named}. Good images were held out "
            "and defects drawn on copies of them; how well real defects are found is not known. "
            "Add good and defective images under test/, two of each or more."
        )
    if few := [one.name for one in advice.products if _fewest(one) < FEW]:
        found.append(
            f"Fewer than {FEW} good or defective images are in a split of {', '.join(few)}; so few "
            "say little, and the standard errors are then too small."
        )
    return found


def _fewest(product: ProductFacts) -> int:
    splits = (product.selection, product.evaluation)
    return min(count for split in splits for count in (split.hits, split.total - split.hits))


def _settings(settings: Sequence[MeasuredSetting], advice: Advice) -> Table:
    return Table(_SETTINGS, [_row(one, one.name == advice.taken) for one in settings])


def _row(setting: MeasuredSetting, taken: bool) -> list[str | Cell]:
    peak = setting.peak_memory
    cells = (
        f"{setting.name} (taken)" if taken else setting.name,
        _auroc(setting.accuracy),
        f"{setting.to_best:+.3f} ± {setting.to_best_error:.3f}",
        figure(setting.accuracy.pixel_auroc),
        f"{setting.p50:.1f}",
        f"{setting.p90:.1f}",
        UNDEFINED if peak is None else f"{peak / _MEGABYTE:.0f}",
        f"{setting.task_bytes / 1000:.0f}",
        setting.precision,
    )
    return [Cell(cell, "hit" if taken else "") for cell in cells]


def _products(advice: Advice) -> Table:
    pair = advice.reported
    rows = []
    for one in advice.products:
        found = [] if pair is None else [pair.taken.by_task, pair.default.by_task]
        rows.append(
            [
                one.name,
                str(one.learned),
                _counted(one.selection),
                _counted(one.evaluation),
                *([figure(by_task[one.name]) for by_task in found] or [UNDEFINED] * 2),
                "real" if one.synthetic is None else f"synthetic: {one.synthetic}",
            ]
        )
    note = "Splits: good + defective images. Image AUROC is that on the evaluation split."
    return Table(_PRODUCTS, rows, note)


def _counted(split: Share) -> str:
    return f"{split.total - split.hits} + {split.hits}"


def made_with(advice: Advice) -> str:
    """Machine, versions and seed in one line."""
    environment = advice.environment
    packages = ", ".join(f"{name} {number}" for name, number in environment.versions.items())
    return (
        f"{environment.cpu}, {advice.asked.threads} threads on {advice.device}, load "
        f"{environment.load:g}; Python {environment.python}, {packages}; method "
        f"{advice.asked.method}, backbone {advice.asked.backbone}, seed {advice.asked.seed}; "
        f"{advice.made_at}."
    )
