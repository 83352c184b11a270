"""Study files: which learners are compared on which stream, in which orders, with which seeds.

    study: two categories
    stream: stream.yaml            # relative to this file, or the name of a protocol
    backbone: efficientnet-lite0   # of learners that say nothing else; so method, size and options
    orders: 3                      # or names: [given, reversed]
    seeds: [0, 1, 2]
    learners:
      patch memory: {}
      PaDiM: {method: padim}
      fewer patches: {options: {memories: 1+2x16}}
      one bank for all: {baseline: joint}

The file is YAML or JSON. A call of the command without one is a study as well, of cad-edge and the
baselines that are asked for.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from cad_edge.data.products import is_stream_file
from cad_edge.data.stream import parse_file
from cad_edge.errors import DatasetError
from cad_edge.options import LARGEST_SIDE, SMALLEST_SIDE
from cad_edge.schema import Record, first_problem
from cad_edge_benchmarks.instruments.command_runner import BACKBONE


def _side(size: object) -> object:
    """Refuse what `cad-edge train --size` refuses."""
    known = isinstance(size, int) and SMALLEST_SIDE <= size <= LARGEST_SIDE
    if not known and size != "auto":
        raise ValueError(f"give auto or a number of pixels from {SMALLEST_SIDE} to {LARGEST_SIDE}")
    return size


PoolName: TypeAlias = Literal["joint", "naive", "replay"]
BaselineName: TypeAlias = Literal["joint", "naive", "replay", "separate"]
Order: TypeAlias = Literal["given", "reversed", "shuffled"]
Size: TypeAlias = Annotated[int | Literal["auto"], BeforeValidator(_side)]


def _texts(options: object) -> object:
    """Write values as options of a method have them."""
    if not isinstance(options, Mapping):
        return options
    return {name: _text(name, value) for name, value in options.items()}


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_text(name, one) for one in value)
    if isinstance(value, int | float | str):
        return str(value)
    raise ValueError(f"{name} is neither a word, a number nor a list of them")


Options: TypeAlias = Annotated[dict[str, str], BeforeValidator(_texts)]
"""Options of a method by name."""


class LearnerEntry(Record):
    """What a study file says of one learner; the rest is the study's."""

    baseline: BaselineName | None = Field(
        default=None,
        description="one model of pooled images, or one of each task; none: cad-edge itself",
    )
    one_step: bool = Field(
        default=False, description="learn all tasks together, by a method that can"
    )
    method: str | None = None
    backbone: str | None = None
    size: Size | None = None
    options: Options = Field(
        default={}, description="of the method, over those of the study unless it has another one"
    )


class Study(Record):
    """A study file."""

    study: str = Field(min_length=1, description="its name")
    stream: str = Field(min_length=1, description="stream file, or name of a published protocol")
    steps: list[Annotated[int, Field(ge=1)]] = Field(
        default=[], description="how many tasks each step adds; none: as the stream says"
    )
    false_reject_rate: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="of a published protocol; a stream file states its own",
    )
    method: str | None = Field(default=None, description="none: what suits the backbone")
    backbone: str = BACKBONE
    size: Size | None = Field(default=None, description="input side; none: the backbone's own")
    options: Options = Field(default={}, description="of the method")
    orders: int | list[Order] = Field(
        default=1, description="so many different ones, the given one first; or their names"
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0], min_length=1)
    learners: dict[str, LearnerEntry | None]

    @field_validator("orders", mode="before")
    @classmethod
    def _counted_or_named(cls, orders: object) -> object:
        known = get_args(Order)
        named = isinstance(orders, list) and orders and all(one in known for one in orders)
        if not named and not (isinstance(orders, int) and orders >= 1):
            raise ValueError(f"give how many, at least 1, or a list of {', '.join(known)}")
        return orders

    @field_validator("orders", "seeds")
    @classmethod
    def _once(cls, values: int | list[int] | list[Order]) -> int | list[int] | list[Order]:
        if isinstance(values, list):
            require_once(values)
        return values

    @field_validator("learners")
    @classmethod
    def _told_apart(
        cls, learners: dict[str, LearnerEntry | None]
    ) -> dict[str, LearnerEntry | None]:
        if not learners:
            raise ValueError("name at least one learner")
        folders: dict[str, str] = {}
        for name in learners:
            other = folders.setdefault(folder_name(name).casefold(), name)
            if other != name:
                raise ValueError(f"{other!r} and {name!r} would share a folder")
            if not folder_name(name).strip("-."):
                raise ValueError(f"{name!r} has neither letter nor digit; give a name")
        return learners


def require_once(values: Sequence[object], option: str = "") -> None:
    """Raise ValueError where one of ``values`` comes twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{option}{value} is given twice; keep one of them")


def folder_name(learner: str) -> str:
    """Name of the folder of a learner."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", learner)


def read_study(path: Path) -> Study | None:
    """Read a study file; a stream that is a file comes back with its absolute path.

    Returns
    -------
    Study
        None where ``path`` is another file, or none at all but perhaps the name of a protocol.

    Raises
    ------
    DatasetError
        The file cannot be parsed or has a key that is unknown, missing, twice or not allowed.
    """
    if not is_stream_file(path):
        return None
    content = parse_file(path, "stream or study file")
    if not isinstance(content, Mapping) or not {"study", "learners"} & set(content):
        return None
    try:
        study = Study.model_validate(content)
    except ValidationError as problem:
        raise DatasetError(
            f"{path} is not a valid study file: {first_problem(problem)}; correct it"
        ) from None
    stream = path.absolute().parent / study.stream
    return study.model_copy(update={"stream": str(stream)}) if is_stream_file(stream) else study
