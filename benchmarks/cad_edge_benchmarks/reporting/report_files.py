"""Where reports may be written, asked before minutes of measuring, and writing them whole."""

import os
from pathlib import Path

from cad_edge.errors import OptionError
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.reporting.document import Document, Figure, markdown
from cad_edge_benchmarks.reporting.html_document import render
from cad_edge_benchmarks.reporting.plots import standalone


def check_folder(option: str, folder: Path) -> None:
    """Raise OptionError where nothing could be written into ``folder``."""
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise OptionError(f"{option} {folder} cannot be made ({above} is a file); give a folder")
    if not os.access(above, os.W_OK):
        raise OptionError(f"{option} {folder} cannot be written to; give another folder")


def check_report(option: str, out: Path) -> None:
    """Raise OptionError where `write_report` could not write."""
    above = next(place for place in out.absolute().parents if place.exists())
    culprit = None
    if not above.is_dir():
        culprit = f"{above} is a file"
    elif is_file(out) and out.is_dir():
        culprit = f"{out} is a folder"
    elif not is_file(out) and out.is_file():
        culprit = f"{out} is a file that does not end in .json"
    elif not os.access(out if out.is_dir() else above, os.W_OK):
        culprit = "there is no permission"
    if culprit is not None:
        raise OptionError(
            f"{option} {out} cannot be written ({culprit}); give a folder, or a file ending in "
            ".json"
        )


def is_file(out: Path) -> bool:
    """Whether ``out`` names a JSON file and not a folder."""
    return out.suffix.lower() == ".json"


def write_report(out: Path, name: str, document: Document, record: bytes) -> list[Path]:
    """Write a report, each file whole or not at all.

    Parameters
    ----------
    out
        A folder, which gets ``name.json``, ``.md``, ``.html`` and the plots that Markdown shows; or
        a file ending in .json, which gets ``record`` alone.
    name
        Of the files.
    document
        The report for people.
    record
        The report as JSON.

    Returns
    -------
    list of Path
        What was written.
    """
    if is_file(out):
        contents = {out: record}
    else:
        contents = {
            out / f"{name}.json": record,
            out / f"{name}.md": printable(markdown(document)),
            out / f"{name}.html": printable(render(document)),
        }
        blocks = [*document.lead, *(block for one in document.sections for block in one.blocks)]
        plots = [one for one in blocks if isinstance(one, Figure) and one.file]
        contents |= {out / plot.file: standalone(plot.svg).encode() for plot in plots}
    for path, data in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    return list(contents)


def printable(text: str) -> bytes:
    r"""Encode a page; bytes of a file's name that are not UTF-8 are shown as ``\udcff``."""
    return text.encode("utf-8", "backslashreplace")
