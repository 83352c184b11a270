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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError, field_validator

from cad_edge.data.stream import parse_file
from cad_edge.errors import CadEdgeError, DatasetError, OptionError
from cad_edge.schema import Record, first_problem
from cad_edge_benchmarks.instruments.command_runner import BACKBONE
from cad_edge_benchmarks.instruments.product_folders import STREAM_SUFFIXES

BaselineName: TypeAlias = Literal["joint", "naive", "replay"]
Order: TypeAlias = Literal["given", "reversed", "shuffled"]
Value: TypeAlias = bool | int | float | str
Pixels: TypeAlias = Annotated[int, Field(ge=64, le=2048)]


class LearnerEntry(Record):
    """What a study file says of one learner; the rest is the study's."""

    baseline: BaselineName | None = Field(
        default=None, description="one model of pooled images; none: cad-edge itself"
    )
    one_step: bool = Field(
        default=False, description="learn all tasks together, by a method that can"
    )
    method: str | None = None
    backbone: str | None = None
    size: Pixels | None = None
    options: dict[str, Value] = Field(
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
    size: Pixels | None = Field(default=None, description="input side; none: the backbone's own")
    options: dict[str, Value] = Field(default={}, description="of the method")
    orders: Annotated[int, Field(ge=1)] | Annotated[list[Order], Field(min_length=1)] = Field(
        default=1, description="so many different ones, the given one first; or their names"
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0], min_length=1)
    learners: dict[str, LearnerEntry | None] = Field(min_length=1)

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
        folders: dict[str, str] = {}
        for name in learners:
            other = folders.setdefault(folder_name(name).casefold(), name)
            if other != name:
                raise ValueError(f"{other!r} and {name!r} would share a folder; rename one of them")
            if not folder_name(name).strip("-."):
                raise ValueError(f"{name!r} has neither letter nor digit; give a name")
        return learners


class LearnerSettings(Record):
    """One learner of a study with nothing left open."""

    baseline: BaselineName | None
    one_step: bool
    method: str
    backbone: str
    size: int | None
    options: dict[str, str]

    @property
    def is_reference(self) -> bool:
        """Whether `replay` may store as many bytes as this one keeps."""
        return self.baseline is None and not self.one_step

    @property
    def network(self) -> tuple[str, int | None]:
        """Backbone and input side."""
        return self.backbone, self.size


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


def is_stream_file(path: Path) -> bool:
    """Whether a path is that of a file, there or not, and no name of a protocol."""
    return path.suffix.lower() in STREAM_SUFFIXES or path.is_file()


def settle(study: Study, path: Path | None) -> dict[str, LearnerSettings]:
    """Settle what every learner of a study is; whatever is wrong is said before one learns.

    Parameters
    ----------
    study
        With the options of the call, where it has any.
    path
        The study file; None where the command line alone says what is learned.

    Raises
    ------
    CadEdgeError
        There is no such method, backbone or option, or they do not fit together.
    """
    from cad_edge_training.backbones import load_backbone

    settled: dict[str, LearnerSettings] = {}
    for name, entry in study.learners.items():
        with said_of(path, f"learner {name}"):
            learner, before = _settings(study, entry or LearnerEntry()), settled.values()
            if learner.baseline == "replay" and not any(one.is_reference for one in before):
                raise OptionError(
                    "replay stores as many bytes as a learner without baseline keeps; put one "
                    "before it"
                )
            _check(learner)
            if not any(one.network == learner.network for one in before):
                load_backbone(*learner.network)
        settled[name] = learner
    return settled


@contextmanager
def said_of(path: Path | None, place: str = "") -> Iterator[None]:
    """Have errors name the study file and the place in it instead of an option."""
    try:
        yield
    except CadEdgeError as problem:
        if path is None:
            raise
        said = re.sub(r"^--set:? ", "option ", str(problem)).removeprefix("--")
        where = f"{path}, {place}" if place else str(path)
        raise type(problem)(f"{where}: {said}") from None


def _settings(study: Study, entry: LearnerEntry) -> LearnerSettings:
    from cad_edge_training.methods import default_method

    backbone = entry.backbone or study.backbone
    method = entry.method or study.method or default_method(backbone)
    common = study.options if entry.method in (None, study.method) else {}
    return LearnerSettings(
        baseline=entry.baseline,
        one_step=entry.one_step,
        method=method,
        backbone=backbone,
        size=entry.size or study.size,
        options={name: _text(value) for name, value in (common | entry.options).items()},
    )


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(learner: LearnerSettings) -> None:
    """Refuse what the method or the backbone does not have, and what does not fit together."""
    from cad_edge_training.learning import learns_steps, uses_depth
    from cad_edge_training.train import Plan, read_config

    method, baseline = learner.method, learner.baseline
    config = read_config(Plan(method, learner.backbone, learner.size, learner.options, 0))
    if baseline is not None and learner.one_step:
        raise OptionError(f"one_step goes without baseline {baseline}; leave one of them out")
    if learner.one_step and not learns_steps(method):
        raise OptionError(
            f"one_step: {method} learns every task on its own; give baseline joint for one model"
        )
    if baseline is not None and uses_depth(method, config):
        raise OptionError(
            f"{baseline} pools images alone, and {method} looks at depth; give options with which "
            "images are enough"
        )
