"""What a method offers: the contract that learning, export and the commands ask for.

A method is a folder below ``methods`` whose ``method.py`` holds ``METHOD``, a `Method`. What only
some methods can do is a Protocol of its own, asked for by ``isinstance``:

    method = load_method("ib_iumad")
    if isinstance(method, LearnsTasksJointly):
        learned = method.learn_step(requests, config)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch

from cad_edge.calibration import Calibration
from cad_edge.schema import Record
from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import LearningRequest, LearningResult

C = TypeVar("C", bound=Record)
C_contra = TypeVar("C_contra", bound=Record, contravariant=True)


@runtime_checkable
class Method(Protocol[C]):
    """What every method has."""

    @property
    def config(self) -> type[C]:
        """Its options, each with a description and a range; unknown names are refused."""
        ...

    def defaults_for(self, backbone: str) -> dict[str, Any]:
        """Values to start from for a backbone, those that differ from the defaults of `config`."""
        ...

    def learn(self, request: LearningRequest, config: C) -> LearningResult:
        """Learn one task from images of good parts; what was learned before is not touched."""
        ...

    def build_model(self, backbone: Backbone, config: C, tensors: Tensors) -> torch.nn.Module:
        """Return the reference model of a learned task.

        It takes images (batch, height, width, 3) uint8, and depth (batch, height, width) float32
        where the method looks at it, and returns scores (batch,) float32 and maps
        (batch, height, width) float32 or None.
        """
        ...


@runtime_checkable
class MakesRemarks(Protocol):
    """Says what it could not do as asked when it learned a product."""

    def remarks(self, tensors: Tensors) -> list[str]:
        """Read it from the tensors of an artifact: half a sentence each, without the name."""
        ...


@runtime_checkable
class ShowsLevels(Protocol):
    """A reference model, of `Method.build_model`, that says which level a score rests on."""

    def levels(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what each level of evidence adds to the scores, and a map of each level.

        It takes what the model takes. Levels are (batch, n) float32 in units of held-out good
        parts, maps (batch, n, h, w) float32, unsmoothed, or None; both as the engine gives them,
        whose certificate compares them. The names are the fusion's (``NamesLevels``).
        """
        ...


@runtime_checkable
class ChoosesExperts(Protocol):
    """A reference model whose experts may be chosen for a product once, or by every frame."""

    def same_experts(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Whether frames choose by themselves what their product chose, (batch,) bool.

        It takes what the model takes.
        """
        ...

    def same_experts_held_out(self) -> float:
        """Return the share of held-out good parts that do, from when the task was learned."""
        ...


@runtime_checkable
class LearnsTasksJointly(Protocol[C_contra]):
    """Learns several tasks in one step."""

    def learn_step(
        self, requests: Sequence[LearningRequest], config: C_contra
    ) -> list[LearningResult]:
        """Learn the tasks of a step together, one result per request and in their order."""
        ...

    def is_whole(self, shared_weights: Mapping[str, object]) -> bool:
        """Whether shared weights are those of a whole step, and not only its number."""
        ...


@runtime_checkable
class LearnsAllAtOnce(Protocol[C_contra]):
    """Can learn a fixed set of products in one step, to which none is added later."""

    def all_at_once(self, config: C_contra) -> bool:
        """Whether these options ask for that."""
        ...


@runtime_checkable
class UpdatesEarlierTasks(Protocol[C_contra]):
    """Shares weights between its tasks, so that a new one changes what the older ones answer."""

    def recalibrate(self, backbone: Backbone, config: C_contra, task: LearnedTask) -> Calibration:
        """Score a task's held-out good parts by the newest version of what is shared."""
        ...


@runtime_checkable
class LearnsDistributed(Protocol):
    """All processes of a training learn a task together; of others the first one learns alone."""

    @property
    def distributed(self) -> Literal[True]:
        """Always True; a method that does not, has no such attribute."""
        ...


@runtime_checkable
class UsesDepth(Protocol[C_contra]):
    """Can look at depth beside the image."""

    def uses_depth(self, config: C_contra) -> bool:
        """Whether tasks are learned with depth by these options."""
        ...


@runtime_checkable
class UsesViews(Protocol):
    """Can look at several images of each part."""

    def defaults_for_views(self) -> dict[str, Any]:
        """Values to start from where parts have several views, on top of `defaults_for`."""
        ...


@runtime_checkable
class HasRouter(Protocol[C_contra]):
    """Weighs shared experts by a router, whose mean ``export --merge-shared`` can take instead."""

    def without_router(
        self, backbone: Backbone, config: C_contra, task: LearnedTask
    ) -> LearnedTask:
        """Give a task shared experts whose weights are the same for every token and image."""
        ...

    def held_out_scores(
        self, backbone: Backbone, config: C_contra, task: LearnedTask
    ) -> list[float]:
        """Scores of a task's held-out good parts, in the order of the parts."""
        ...


@runtime_checkable
class NamesUnsupportedParts(Protocol[C_contra]):
    """Is published with parts that some backbones cannot carry, or that options leave out."""

    def unsupported_parts(self, backbone: str, config: C_contra) -> str | None:
        """Say in one sentence which published parts are left out; None where none is."""
        ...


@dataclass(frozen=True)
class Suitability:
    """What a method says of a product from its good parts alone."""

    value: float
    """The figure that it goes by."""
    limit: float
    """Below it the method is not recommended for the product."""
    sentence: str
    """What the figure is and says, for a report."""

    @property
    def suits(self) -> bool:
        """Whether the figure reaches the limit; what is no number does not."""
        return self.value >= self.limit


@runtime_checkable
class StatesSuitability(Protocol):
    """Says of a product that it has learned whether it suits it."""

    def suitability(self, tensors: Tensors) -> Suitability | None:
        """Read it from the tensors of an artifact; None where they do not say."""
        ...


@dataclass(frozen=True)
class Axis:
    """One thing that is varied; a value is a word without space, comma or equals sign."""

    name: str
    values: tuple[str, ...]
    """The default first."""

    @property
    def default(self) -> str:
        """Value of the default configuration."""
        return self.values[0]


@dataclass(frozen=True)
class Settings:
    """What `cad-edge train` is given beyond its defaults."""

    size: int | None = None
    """Input side in pixels; None for the backbone's own."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the method as NAME: VALUE, only those that differ from the defaults."""


@runtime_checkable
class Sweepable(Protocol):
    """Has options that ``cad-edge advise`` tries on a user's images."""

    def axes_for(self, backbone: str) -> tuple[Axis, ...]:
        """Axes with their values, the default first."""
        ...

    def settings_for(self, backbone: str, values: Mapping[str, str]) -> Settings:
        """Give the settings for one value of each axis; an axis left out has its default."""
        ...


@runtime_checkable
class KnowsLastBlock(Protocol[C_contra]):
    """Says how deep it looks into its backbone, so that no more of it is timed."""

    def last_block(self, backbone: Backbone, config: C_contra) -> int:
        """Deepest block whose features are used."""
        ...


@runtime_checkable
class HasKeySet(Protocol):
    """Options that say of what the published key set is made (CMPMB, eq. 5)."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks whose features are the keys; the last one is taken."""
        ...

    @property
    def keys(self) -> int:
        """Patches that the key set keeps."""
        ...
