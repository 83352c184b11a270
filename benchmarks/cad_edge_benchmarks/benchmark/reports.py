"""Reports as files: written whole or not at all."""

from pathlib import Path

from cad_edge.errors import OptionError
from cad_edge.schema import canonical_json
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.benchmark.page import render_page
from cad_edge_benchmarks.benchmark.section import Chapter, Table
from cad_edge_benchmarks.benchmark.sections import chapters, headline
from cad_edge_benchmarks.instruments.report_schema import Report
from cad_edge_benchmarks.reporting.tables import markdown_table, text_table

_NAME = "benchmark"


def check_place(out: Path) -> None:
    """Raise OptionError where a report could not be written, before minutes of measuring."""
    above = next(place for place in out.absolute().parents if place.exists())
    culprit = None
    if not above.is_dir():
        culprit = f"{above} is a file"
    elif _is_file(out) and out.is_dir():
        culprit = f"{out} is a folder"
    elif not _is_file(out) and out.is_file():
        culprit = f"{out} is a file that does not end in .json"
    if culprit is not None:
        raise OptionError(
            f"--out {out} cannot be written ({culprit}); give a folder, or a file ending in .json"
        )


def write_report(out: Path, report: Report) -> list[Path]:
    """Write a report; into a folder as JSON, Markdown and HTML, into a file as JSON alone."""
    if _is_file(out):
        contents = {out: canonical_json(report)}
    else:
        contents = {
            out / f"{_NAME}.json": canonical_json(report),
            out / f"{_NAME}.md": markdown(report).encode(),
            out / f"{_NAME}.html": render_page(report).encode(),
        }
    for path, data in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    return list(contents)


def _is_file(out: Path) -> bool:
    return out.suffix.lower() == ".json"


def markdown(report: Report) -> str:
    """Lay out as Markdown."""
    parts = ["# cad-edge benchmark", headline(report), *_frames(report)]
    for chapter in chapters(report):
        parts.append(f"## {chapter.title}")
        parts += [_markdown_table(table) for table in chapter.tables]
        parts += chapter.notes
    return "\n\n".join(parts) + "\n"


def _frames(report: Report) -> list[str]:
    return [report.frames.note] if report.frames.note else []


def _markdown_table(table: Table) -> str:
    rows = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
    if not table.is_list:
        return markdown_table(table.head, rows)
    return "\n".join(f"* {name}: {value}" for name, value in rows)


def text(report: Report) -> str:
    """Lay out for a terminal."""
    parts = [headline(report), *_frames(report)]
    for chapter in chapters(report):
        parts.append(f"{chapter.title}\n{'-' * len(chapter.title)}")
        parts.append("\n\n".join(_said(chapter)))
    return "\n\n".join(parts)


def _said(chapter: Chapter) -> list[str]:
    return [*(_text_table(table) for table in chapter.tables), *chapter.notes]


def _text_table(table: Table) -> str:
    if not table.is_list:
        return text_table(table.head, table.rows)
    width = max(len(name) for name, _ in table.rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in table.rows)
