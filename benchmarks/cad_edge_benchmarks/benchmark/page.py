"""The report as one HTML page that needs nothing beside it, neither files nor a network."""

from cad_edge_benchmarks.benchmark.plots import plots_of
from cad_edge_benchmarks.benchmark.section import Chapter
from cad_edge_benchmarks.benchmark.sections import chapters, headline
from cad_edge_benchmarks.instruments.report_schema import Report
from cad_edge_benchmarks.reporting.html_page import PLOTS, STYLE, escape, page, style_sheet, table


def render_page(report: Report) -> str:
    """Write the whole page."""
    found = chapters(report)
    links = "".join(f'<a href="#{one.key}">{escape(one.title)}</a>' for one in found)
    sections = "".join(_section(one, report) for one in found)
    return page(
        "cad-edge benchmark",
        style_sheet(STYLE, PLOTS),
        '<header><h1>cad-edge benchmark</h1><p class="headline">'
        f"{escape(headline(report))}</p><p>{escape(_made(report))}</p>"
        f"{_note(report)}<nav>{links}</nav></header>"
        f"{sections}",
    )


def _made(report: Report) -> str:
    gpus = "".join(f", {gpu.name}" for gpu in report.environment.gpus)
    return (
        f"{report.environment.cpu}{gpus}; graphs ran on {report.provider} with "
        f"{report.settings.threads} threads; {len(report.bundle.tasks)} tasks; {report.made_at}."
    )


def _note(report: Report) -> str:
    return f"<p>{escape(report.frames.note)}</p>" if report.frames.note else ""


def _section(chapter: Chapter, report: Report) -> str:
    plots = "".join(
        f"<figure>{plot.drawing}<figcaption>{escape(plot.caption)}</figcaption></figure>"
        for plot in plots_of(chapter.key, report)
    )
    tables = "".join(table(one.head, one.rows) for one in chapter.tables)
    notes = "".join(f"<p>{escape(note)}</p>" for note in chapter.notes)
    return (
        f'<section id="{escape(chapter.key)}"><h2>{escape(chapter.title)}</h2>'
        f'<div class="plots">{plots}</div>{tables}{notes}</section>'
    )
