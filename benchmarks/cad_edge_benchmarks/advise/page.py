"""The advice as one HTML page that needs nothing beside it, neither files nor a network."""

from cad_edge_benchmarks.advise.plot import accuracy_plot
from cad_edge_benchmarks.advise.schema import Advice, Measured, ProductFacts
from cad_edge_benchmarks.advise.sentences import RULES, headline, report
from cad_edge_benchmarks.advise.tables import HEAD, ranked, row
from cad_edge_benchmarks.advise.text import made_with
from cad_edge_benchmarks.reporting.html_page import (
    PLOTS,
    STYLE,
    Cell,
    escape,
    page,
    style_sheet,
    table,
)


def render(advice: Advice) -> str:
    """Write the whole page."""
    style = style_sheet(STYLE, PLOTS) + style_sheet("page.css", package=__package__)
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in report(advice))
    return page(
        "cad-edge advice",
        style,
        f'<header><h1>cad-edge advice</h1><p class="headline">{escape(headline(advice))}</p>'
        f"{said}{_commands(advice)}</header>"
        f"<section><h2>Accuracy against time</h2><figure>{accuracy_plot(advice)}</figure></section>"
        f"{_settings(advice)}{_refused(advice)}{_products(advice)}"
        f"<section><h2>How</h2>{''.join(f'<p>{escape(rule)}</p>' for rule in RULES)}"
        f"<p>{escape(made_with(advice))}</p></section>",
    )


def _commands(advice: Advice) -> str:
    if not advice.commands:
        return ""
    return f"<pre>{escape(chr(10).join(advice.commands))}</pre>"


def _settings(advice: Advice) -> str:
    best, rest = ranked(advice)
    rows = [_row(one, advice) for one in best] + [_row(one, advice) for one in rest]
    return (
        f'<section id="settings"><h2>Settings</h2><p>The front first, from the fastest to the most '
        f"accurate; greyed settings are dominated.</p>{table(HEAD, rows)}</section>"
    )


def _row(setting: Measured, advice: Advice) -> list[str | Cell]:
    if setting.name == advice.taken:
        return [Cell(cell, "hit") for cell in row(setting)]
    if setting.on_front:
        return [*row(setting)]
    return [Cell(cell, "none") for cell in row(setting)]


def _refused(advice: Advice) -> str:
    if not advice.refused:
        return ""
    rows = [[one.name, one.reason] for one in advice.refused]
    return f'<section id="refused"><h2>Refused</h2>{table(["setting", "reason"], rows)}</section>'


def _products(advice: Advice) -> str:
    head = ["product", "learned from", "chose: good + defective", "reports: good + defective"]
    head += ["defects", "chosen", "default"]
    rows = [[*_facts(one), *_by_task(advice, one.name)] for one in advice.products]
    return (
        '<section id="products"><h2>Products</h2><p>Image AUROC of the setting taken and of the '
        f"default, on the images that report.</p>{table(head, rows)}</section>"
    )


def _facts(one: ProductFacts) -> list[str]:
    counts = [
        f"{share.total - share.hits} + {share.hits}" for share in (one.choosing, one.reporting)
    ]
    kind = "real" if one.stand_in is None else f"synthetic: {one.stand_in}"
    return [one.name, str(one.learned), *counts, kind]


def _by_task(advice: Advice, name: str) -> list[str]:
    if advice.reported is None:
        return ["-", "-"]
    pair = advice.reported
    return [f"{one.by_task[name]:.3f}" for one in (pair.taken, pair.default)]
