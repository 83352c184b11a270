"""The advice on methods as a report: the method of every product, and the figures behind it."""

from collections.abc import Sequence

from cad_edge_benchmarks.advise.held_out_parts import LOCAL, STRUCTURAL
from cad_edge_benchmarks.advise.method_schema import MethodFigures, MethodsAdvice, ProductAdvice
from cad_edge_benchmarks.advise.report import FEW
from cad_edge_benchmarks.reporting.document import Block, Cell, Code, Document, Section, Table, Warn
from cad_edge_benchmarks.reporting.tables import UNDEFINED

_FIGURES = (
    *("product, method", "defects found", "found local", "found structural"),
    *("AUROC local", "AUROC structural", "its own word"),
)

RULES = (
    "Every method learned two thirds of the good parts of a product. The others, and copies of "
    "them with synthetic defects, judged it; no test image had a part in that. Local defects "
    "damage a place: a piece pasted, a scratch, a blot. Structural ones put good pieces where they "
    "do not belong: replaced, swapped, displaced.",
    "Defects found is the share above the lowest threshold that rejects no more held-out parts "
    "than the stated rate, the same for all methods and not that of the calibration; the mean over "
    "both groups, ± one standard error by a bootstrap over parts.",
    "A method that says it does not suit a product is left out. Of the others the one that finds "
    "most is taken; what lies within the standard error of that difference is told apart by AUROC, "
    "and what is within its error goes to the method that was named first.",
)
"""How the choice came about."""


def methods_document(advice: MethodsAdvice) -> Document:
    """Lay out the advice."""
    reasons = [[one.name, f"{one.taken}: {one.reason}."] for one in advice.products]
    rows = [row for one in advice.products for row in _rows(one, advice.asked.methods)]
    rate = f"{100 * advice.stated_false_reject_rate:g} %"
    note = f"At {rate} false rejects stated. The method taken is marked."
    refused = [
        [f"{one.name}, {method}", why]
        for one in advice.products
        for method, why in one.refused.items()
    ]
    sections = [
        Section("choice", "Why", (Table(("", ""), reasons, is_list=True),)),
        Section("figures", "On held-out parts", (Table(_FIGURES, rows, note),)),
    ]
    if refused:
        sections.append(Section("refused", "Refused", (Table(("", ""), refused, is_list=True),)))
    sections.append(Section("how", "How", (*RULES, made_with(advice)), in_terminal=False))
    lead: list[Block] = [*map(Warn, warnings(advice)), Code("\n".join(advice.commands))]
    return Document("cad-edge advise: methods", headline(advice), tuple(lead), tuple(sections))


def headline(advice: MethodsAdvice) -> str:
    """Name the products of each method."""
    parts = []
    for method in advice.asked.methods:
        names = [one.name for one in advice.products if one.taken == method]
        if names:
            parts.append(f"{method} for {', '.join(names)}")
    return f"Take {'; '.join(parts)}."


def warnings(advice: MethodsAdvice) -> list[str]:
    """Say what the figures cannot be trusted for."""
    found = [
        "Synthetic defects chose here, not real ones; how well real defects are found is said by "
        "cad-edge evaluate on test images."
    ]
    if few := [one.name for one in advice.products if one.held_out < FEW]:
        found.append(
            f"Fewer than {FEW} parts of {', '.join(few)} are held out; so few say little, and the "
            "standard errors are then too small."
        )
    return found


def _rows(product: ProductAdvice, methods: Sequence[str]) -> list[list[str | Cell]]:
    rows: list[list[str | Cell]] = []
    for method in methods:
        if method not in product.methods:
            continue
        one = product.methods[method]
        taken = method == product.taken
        cells = (
            f"{product.name}, {method}{' (taken)' if taken else ''}",
            f"{one.found_mean:.3f} ± {one.found_error:.3f}",
            f"{one.found[LOCAL]:.3f}",
            f"{one.found[STRUCTURAL]:.3f}",
            f"{one.image_auroc[LOCAL]:.3f}",
            f"{one.image_auroc[STRUCTURAL]:.3f}",
            _word(one),
        )
        rows.append([Cell(cell, "hit" if taken else "") for cell in cells])
    return rows


def _word(figures: MethodFigures) -> str:
    said = figures.suitability
    return UNDEFINED if said is None else f"{said.value:.2f} (at least {said.limit:g})"


def made_with(advice: MethodsAdvice) -> str:
    """Machine, versions and seed in one line."""
    environment = advice.environment
    packages = ", ".join(f"{name} {number}" for name, number in environment.versions.items())
    return (
        f"{environment.cpu}, {advice.asked.threads} threads; Python {environment.python}, "
        f"{packages}; backbone {advice.asked.backbone}, seed {advice.asked.seed}; {advice.made_at}."
    )
