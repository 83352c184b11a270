"""The report as one HTML page that needs nothing beside it, neither files nor a network."""

from importlib.resources import files

from cad_edge_benchmarks.benchmark.chapter import Chapter
from cad_edge_benchmarks.benchmark.chapters import chapters, headline
from cad_edge_benchmarks.benchmark.plots import plots_of
from cad_edge_benchmarks.benchmark.schema import Report
from cad_edge_benchmarks.demo.sections import escape, table


def render_page(report: Report) -> str:
    """Write the whole page."""
    found = chapters(report)
    links = "".join(f'<a href="#{one.key}">{escape(one.title)}</a>' for one in found)
    sections = "".join(_section(one, report) for one in found)
    style = "".join(
        (files(f"cad_edge_benchmarks.{package}") / "report.css").read_text(encoding="utf-8")
        for package in ("demo", "benchmark")
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>cad-edge benchmark</title><style>\n{style}</style></head><body><main>"
        '<header><h1>cad-edge benchmark</h1><p class="headline">'
        f"{escape(headline(report))}</p><p>{escape(_made(report))}</p>"
        f"{_note(report)}<nav>{links}</nav></header>"
        f"{sections}</main></body></html>\n"
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
