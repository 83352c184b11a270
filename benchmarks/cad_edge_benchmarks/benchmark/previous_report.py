"""An earlier report, read for a comparison, also where another version of cad-edge wrote it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from cad_edge.errors import OptionError
from cad_edge.schema import first_problem
from cad_edge_benchmarks.instruments.report_schema import FORMAT, KIND, Report

_ONE_BY_ONE = ("scenarios", "scale")
"""Lists whose members stand for themselves: one that cannot be read is left out alone."""
_OPTIONAL = ("memory", "comparison", "budgets")
_EMPTY: dict[str, object] = {"budgets": []}


@dataclass(frozen=True)
class Earlier:
    """A report to compare with."""

    source: str
    report: Report
    foreign: tuple[str, ...] = ()
    """What of the file this version does not know or lacks, as sentences."""


def read_earlier(path: Path) -> Earlier:
    """Read the JSON of an earlier run; of another schema, whatever can be understood.

    Raises
    ------
    OptionError
        The file is not there, is no report, or lacks what every comparison needs.
    """
    record = _record(path)
    stranger = []
    if record.get("format") != FORMAT:
        stranger.append(
            f"another schema: format was {record.get('format')}, this version reads {FORMAT}"
        )
        record["format"] = FORMAT
    left_out: list[str] = []
    while True:
        try:
            # Through JSON, where a list may stand for a tuple, as in any file.
            report = Report.model_validate_json(json.dumps(record))
            break
        except ValidationError as problem:
            found = _forget(record, problem)
            if not found:
                raise OptionError(
                    f"--against {path} cannot be compared with: {first_problem(problem)}; measure "
                    "again with this version"
                ) from None
            left_out += found
    stranger += [f"another schema: {place} is left out" for place in dict.fromkeys(left_out)]
    return Earlier(str(path), report, tuple(stranger))


def _record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as problem:
        raise OptionError(f"--against {path} cannot be read: {problem.strerror}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise OptionError(
            f"--against {path} is not a report of `cad-edge benchmark`; give the JSON that its "
            "--out wrote"
        )
    return found


def _forget(record: dict[str, Any], problem: ValidationError) -> list[str]:
    """Take out of ``record`` what cannot be read and is not needed; return what it was.

    Unknown keys go first: what is wrong besides is seen when they are gone.
    """
    errors = problem.errors(include_url=False)
    unknown = [one["loc"] for one in errors if one["type"] == "extra_forbidden"]
    if unknown:
        for place in unknown:
            _owner(record, place).pop(str(place[-1]), None)
        return [".".join(str(part) for part in place) for place in unknown]
    places = {_part(one["loc"]) for one in errors}
    if None in places:
        return []
    # From the back, so that the numbers of those before stay what they are.
    known = sorted(filter(None, places), key=lambda part: (part[0], part[1] or 0), reverse=True)
    return [_without(record, place) for place in known]


def _owner(record: dict[str, Any], place: Sequence[str | int]) -> dict[str, Any]:
    """Return the mapping that holds the key ``place``."""
    owner: Any = record
    for part in place[:-1]:
        owner = owner[part]
    return cast(dict[str, Any], owner)


def _part(place: Sequence[str | int]) -> tuple[str, int | None] | None:
    """Return the part of a report that ``place`` lies in, None if a report needs it."""
    name = str(place[0])
    if name in _ONE_BY_ONE and len(place) > 1 and isinstance(place[1], int):
        return name, place[1]
    return (name, None) if name in _OPTIONAL else None


def _without(record: dict[str, Any], part: tuple[str, int | None]) -> str:
    name, number = part
    if number is None:
        record[name] = _EMPTY.get(name)
        return name
    gone = record[name].pop(number)
    label = gone.get("scenario", number) if isinstance(gone, dict) else number
    return f"{name} {label}"
