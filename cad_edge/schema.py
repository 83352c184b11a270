"""Building blocks of every written format: strict frozen models, names and hashes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from cad_edge.errors import CadEdgeError
from cad_edge.strict_json import NotStrictJson, read_json_object

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Lower-case hexadecimal sha256."""

TaskName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""A task's name: also a folder name, so no slash, no leading dot, at most 64 characters."""


MAXIMUM_COUNT = 2**53
"""Up to here every reader of JSON has whole numbers."""

Count = Annotated[int, Field(ge=0, le=MAXIMUM_COUNT)]
"""How many of something."""

Positive = Annotated[int, Field(ge=1, le=MAXIMUM_COUNT)]
"""How many of something that is there; bounds in a field's own `Field` would not count beside."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
"""A name that a program chose, of a graph's input or a version."""

Score = Annotated[float, Field(ge=-(2.0**128), le=2.0**128)]
"""A score or map value: an engine gives float32."""


class Record(BaseModel):
    """A value of a written format: frozen; an unknown key, NaN and infinity are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants"
    )


class OmitDefaults(Record):
    """A record that leaves out what is rare: fields of ``RARE`` are not written at their default.

    What is written without them therefore has the same bytes as where they are not known.
    """

    RARE: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_rare(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        fields = type(self).model_fields
        for name in self.RARE:
            if getattr(self, name) == fields[name].default:
                written.pop(name, None)
        return written


class WithViews(OmitDefaults):
    """A record about samples that consist of several views, or of one."""

    RARE: ClassVar[frozenset[str]] = frozenset({"views"})

    views: int = Field(default=1, ge=1, le=64, description="images of every sample")


R = TypeVar("R", bound=Record)
_QUOTED = 150  # characters of what a message quotes from a file


class Evidence(Record):
    """Figures that were measured; of what fails they may be NaN or infinite, and are not written.

    JSON has no such numbers, so that neither a writer nor a reader lets them pass.
    """

    model_config = ConfigDict(allow_inf_nan=True)


def canonical_json(record: Record) -> bytes:
    """Bytes of ``record`` that depend on its content alone: sorted keys, no optional space.

    Raises
    ------
    ValueError
        A figure is NaN or infinite.
    """
    content = record.model_dump(mode="json")
    return (json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def sha256_of(data: bytes) -> str:
    """Return the hexadecimal sha256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def parse_json(model: type[R], data: bytes, source: str, error: type[CadEdgeError]) -> R:
    """Read ``data`` as ``model``; raise ``error`` with one sentence that names ``source``.

    Nothing is converted: ``"1"``, ``1.0`` and ``true`` are no integers.
    """
    try:
        read_json_object(data)
        return model.model_validate_json(data, strict=True)
    except NotStrictJson as problem:
        raise error(f"{source} {problem}") from None
    except ValidationError as problem:
        raise error(f"{source} is not valid: {first_problem(problem)}") from None


def parse_object(
    model: type[R], content: Mapping[str, Any], source: str, error: type[CadEdgeError]
) -> R:
    """Do as `parse_json`, given what `read_json_object` read.

    For records without times and paths, which may be large: of JSON itself pydantic copies all of
    the input once for every error.
    """
    try:
        return model.model_validate(content, strict=True)
    except ValidationError as problem:
        raise error(f"{source} is not valid: {first_problem(problem)}") from None


def first_problem(problem: ValidationError) -> str:
    """Say the first validation error as ``place: message``, with the number of further ones."""
    first = first_error(problem)
    place = _shortened(".".join(str(part) for part in first["loc"])) or "the file"
    count = problem.error_count()
    more = f" (and {count - 1} more)" if count > 1 else ""
    if first["type"] == "string_pattern_mismatch":
        given = problem.errors(include_url=False, include_context=False)[0]["input"]
        return f"{place}: {_shortened(repr(given))} is not allowed{more}"
    plain = {
        "extra_forbidden": "there is no such key",
        "model_type": "it is not a mapping of keys to values",
    }
    said = _shortened(first["msg"].removeprefix("Value error, "))  # by a validator of ours
    return f"{place}: {plain.get(first['type'], said)}{more}"


def first_error(problem: ValidationError) -> Mapping[str, Any]:
    """Return the first error without its input, which may stand for more than memory holds."""
    return problem.errors(include_url=False, include_input=False, include_context=False)[0]


def _shortened(text: str) -> str:
    """Keep what follows in a message from being cut away by a quoted text without end."""
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
