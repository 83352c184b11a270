"""The advice for a terminal and as Markdown."""

from collections.abc import Sequence

from cad_edge_benchmarks.advise.schema import Advice, Measured
from cad_edge_benchmarks.advise.sentences import RULES, headline, report
from cad_edge_benchmarks.advise.tables import HEAD, ranked, row
from cad_edge_benchmarks.advise.text_plot import text_plot
from cad_edge_benchmarks.reporting.tables import markdown_table, text_table

PICTURE = "advice.svg"


def terminal(advice: Advice) -> str:
    """Lay out for a terminal: table, plot, sentences, commands."""
    best, rest = ranked(advice)
    rows = [["on the front", *[""] * (len(HEAD) - 1)], *_rows(best, advice)]
    if rest:
        rows += [["dominated", *[""] * (len(HEAD) - 1)], *_rows(rest, advice)]
    parts = [text_table(HEAD, rows), text_plot(advice)]
    if advice.refused:
        parts.append("\n".join(["refused", *(f"  {line}" for line in _refused(advice))]))
    parts.append("\n".join([headline(advice), *report(advice)]))
    if advice.commands:
        parts.append("\n".join(f"    {line}" for line in advice.commands))
    return "\n\n".join(parts)


def _rows(settings: Sequence[Measured], advice: Advice) -> list[list[str]]:
    return [
        [f"{'*' if one.name == advice.taken else ' '} {name}", *cells]
        for one in settings
        for name, *cells in [row(one)]
    ]


def _refused(advice: Advice) -> list[str]:
    return [f"{one.name}: {one.reason}" for one in advice.refused]


def markdown(advice: Advice) -> str:
    """Lay out as Markdown beside the plot."""
    best, rest = ranked(advice)
    parts = ["# cad-edge advice", headline(advice), *report(advice)]
    if advice.commands:
        parts.append("\n".join(f"    {line}" for line in advice.commands))
    parts += [f"![Image AUROC against milliseconds]({PICTURE})", "## Front"]
    parts.append(markdown_table(HEAD, [row(one) for one in best]))
    if rest:
        parts += ["## Dominated", markdown_table(HEAD, [row(one) for one in rest])]
    if advice.refused:
        parts += ["## Refused", "\n".join(f"* {line}" for line in _refused(advice))]
    parts += ["## How", *RULES, made_with(advice)]
    return "\n\n".join(parts) + "\n"


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
