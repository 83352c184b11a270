"""Building blocks of every written format: strict frozen models, names and hashes."""

import hashlib
import json
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

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Lower-case hexadecimal sha256."""

TaskName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""A task's name: also a folder name, so no slash, no leading dot, at most 64 characters."""


class Record(BaseModel):
    """A value of a written format: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


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


def canonical_json(record: Record) -> bytes:
    """Bytes of ``record`` that depend on its content alone: sorted keys, no optional space."""
    return (json.dumps(record.model_dump(mode="json"), sort_keys=True, indent=1) + "\n").encode()


def sha256_of(data: bytes) -> str:
    """Return the hexadecimal sha256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def parse_json(model: type[R], data: bytes, source: str, error: type[CadEdgeError]) -> R:
    """Read ``data`` as ``model``; raise ``error`` with one sentence that names ``source``."""
    try:
        return model.model_validate_json(data)
    except ValidationError as problem:
        raise error(f"{source} is not valid: {first_problem(problem)}") from None


def first_problem(problem: ValidationError) -> str:
    """Say the first validation error as ``place: message``, with the number of further ones."""
    errors = problem.errors(include_url=False)
    place = ".".join(str(part) for part in errors[0]["loc"]) or "the file"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    plain = {
        "extra_forbidden": "there is no such key",
        "model_type": "it is not a mapping of keys to values",
        "string_pattern_mismatch": f"{errors[0]['input']!r} is not allowed",
    }
    said = errors[0]["msg"].removeprefix("Value error, ")  # by a validator of ours
    return f"{place}: {plain.get(errors[0]['type'], said)}{more}"
