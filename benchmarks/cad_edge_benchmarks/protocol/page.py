"""The report as one HTML page that needs nothing beside it, neither files nor a network."""

from cad_edge_benchmarks.instruments.machine import describe_machine, versions
from cad_edge_benchmarks.protocol.layout import NOT_YET, UNDEFINED, Table
from cad_edge_benchmarks.protocol.report import Report, facts
from cad_edge_benchmarks.protocol.sentences import beside, headline
from cad_edge_benchmarks.reporting.html_page import STYLE, escape, page, style_sheet


def render(report: Report) -> str:
    """Write the whole page."""
    tables = report.tables
    contents = "".join(
        f'<a href="#table-{number}">{escape(table.title)}</a>'
        for number, table in enumerate(tables)
        if table.linked
    )
    body = "".join(_section(number, table) for number, table in enumerate(tables))
    warnings = "".join(f'<p class="compat">{escape(one)}</p>' for one in report.warnings)
    sentences = [*beside(report.runs), *facts(report)]
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    title, lead = escape(report.plan.protocol), escape(headline(report.runs))
    return page(
        title,
        style_sheet(STYLE) + style_sheet("page.css", package=__package__),
        f'<header><h1>cad-edge protocol: {title}</h1><p class="headline">{lead}</p>'
        f"{warnings}{said}<nav>{contents}</nav></header>{body}{_conditions()}",
    )


def _section(number: int, table: Table) -> str:
    warnings = "".join(f'<p class="compat">{escape(one)}</p>' for one in table.warnings)
    head = "".join(_cell("th", cell, column, table) for column, cell in enumerate(table.head))
    rows = "".join(
        f"<tr>{''.join(_cell('td', cell, column, table) for column, cell in enumerate(row))}</tr>"
        for row in table.rows
    )
    return (
        f'<section id="table-{number}"><h2>{escape(table.title)}</h2>{warnings}'
        f'<div class="scroll"><table class="figures-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div><small>{escape(table.note)}</small></section>"
    )


def _cell(tag: str, cell: str, column: int, table: Table) -> str:
    styles = [
        style
        for style, applies in (
            ("compat", column in table.red and cell != NOT_YET),
            ("none", cell == UNDEFINED),
        )
        if applies
    ]
    kind = f' class="{" ".join(styles)}"' if styles else ""
    # On a line of its own a deviation costs no width, and wide tables fit their page.
    mean, sign, deviation = cell.partition(" ± ")
    spread = f'<span class="deviation"> ± {escape(deviation)}</span>' if sign else ""
    return f"<{tag}{kind}>{escape(mean)}{spread}</{tag}>"


def _conditions() -> str:
    machine = describe_machine()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"<section><h2>Made with</h2><p>{escape(machine['cpu'])}, {machine['cores']} cores; "
        f"Python {escape(machine['python'])}; {escape(packages)}.</p></section>"
    )
