"""Chains: the stages of an engine, resolved once and run with little else than the graphs.

A value (the output of a stage) is named by what it is computed from: the graph, and for each of
its inputs the frame, the bound tensor or the value it is connected to. The same computation
therefore has the same name wherever it appears, and the values of a frame are kept under these
names while the frame is in work. That is all of the memoisation: when the selector has run a
frame's trunk, the engine of the chosen task finds its first stage done, whatever bundle, method or
layout they come from. Stages with bound tensors differ in name where their tensors differ.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import BundleError, GraphError
from cad_edge.schema import sha256_of
from cad_edge.store.manifest import Engine
from cad_edge_runtime.session import Array, GraphSession

Values = dict[str, Array]
"""Values of one frame or of a batch of frames, by name; the first axis is the batch, or that of all
views of the frames in it."""

Wanted = dict[str, set[str]]
"""Output names that are used, by name of the stage."""

OPTIONAL_RESULTS = ("anomaly_map", "probability", "levels", "level_maps")
"""Outputs of a last stage that are taken where the graph has them."""


def image_source(recipe: ImageRecipe) -> str:
    """Name of the value ``image`` (batch * views, height, width, 3) uint8 after ``recipe``."""
    return f"frame/image@{recipe.width}x{recipe.height}/{recipe.resample}/{recipe.channels}"


def depth_source(recipe: ImageRecipe) -> str:
    """Name of the value ``depth`` (batch, height, width) float32 at the recipe's size."""
    return f"frame/depth@{recipe.width}x{recipe.height}"


@dataclass(frozen=True)
class StagePlan:
    """A stage with its inputs resolved, before there is a session for it."""

    name: str
    """Identity of the computation: sha256 over the graph and all its sources."""

    graph: str
    inputs: tuple[str, ...]
    """Every input of the graph."""

    sources: tuple[tuple[str, str], ...]
    """Graph input and name of the value bound to it, for frames and earlier stages."""

    tensors: tuple[tuple[str, str], ...]
    """Graph input and name of the tensor bound to it."""


@dataclass(frozen=True)
class ChainPlan:
    """An engine with all its sources resolved."""

    engine: Engine
    stages: tuple[StagePlan, ...]
    results: tuple[str, ...]
    """Outputs of the last stage that must be there."""

    needs_depth: bool

    def wanted(self) -> Wanted:
        """Return the outputs that this chain uses, by stage."""
        used: Wanted = {stage.name: set() for stage in self.stages}
        used[self.stages[-1].name].update(self.results)
        for stage in self.stages:
            for _, value in stage.sources:
                producer, _, output = value.partition("/")
                if producer in used:
                    used[producer].add(output)
        return used


def plan_chain(engine: Engine, results: tuple[str, ...], owner: str) -> ChainPlan:
    """Resolve the sources of every stage.

    Parameters
    ----------
    engine
        As the manifest has it.
    results
        Outputs that the last stage must give.
    owner
        Whose engine it is, for messages.

    Raises
    ------
    BundleError
        A source is not one of those that ``cad_edge.store.manifest`` lists.
    """
    stages: list[StagePlan] = []
    for place in range(len(engine.stages)):
        stages.append(_plan_stage(engine, place, stages, owner))
    depth = depth_source(engine.recipe)
    needs_depth = any(value == depth for stage in stages for _, value in stage.sources)
    return ChainPlan(engine, tuple(stages), results, needs_depth)


def _plan_stage(engine: Engine, place: int, before: list[StagePlan], owner: str) -> StagePlan:
    stage = engine.stages[place]
    sources: list[tuple[str, str]] = []
    tensors: list[tuple[str, str]] = []
    for name, source in sorted(stage.inputs.items()):
        kind, _, rest = source.partition("/")
        if kind == "tensor" and rest and engine.tensor_objects():
            tensors.append((name, rest))
        elif source == "frame/image":
            sources.append((name, image_source(engine.recipe)))
        elif source == "frame/depth":
            sources.append((name, depth_source(engine.recipe)))
        elif _is_place(kind) and rest and int(kind) < place:
            sources.append((name, sys.intern(f"{before[int(kind)].name}/{rest}")))
        else:
            raise BundleError(
                f"stage {place} of {owner} takes {name[:80]!r} from {source[:80]!r}, which this "
                "engine does not have; export the bundle again"
            )
    held = "+".join([str(engine.tensors), *engine.joint])
    bound = [f"{name}=tensor/{held}/{tensor}" for name, tensor in tensors]
    linked = [f"{name}={value}" for name, value in sources]
    identity = sha256_of("\0".join([stage.graph, *sorted(bound + linked)]).encode())
    return StagePlan(identity, stage.graph, tuple(stage.inputs), tuple(sources), tuple(tensors))


def _is_place(word: str) -> bool:
    """Whether a word is the number of a stage; thousands of digits are more than int() takes."""
    return len(word) <= 4 and word.isascii() and word.isdigit()


@dataclass(frozen=True)
class Step:
    """A stage with its session and tensors: everything but the frame."""

    session: GraphSession
    outputs: tuple[str, ...]
    names: tuple[str, ...]
    """Under which each output is kept."""

    sources: tuple[tuple[str, str], ...]
    tensors: Mapping[str, object]


class Chain:
    """A chain that can be run."""

    def __init__(self, plan: ChainPlan, steps: tuple[Step, ...]) -> None:
        last = plan.stages[-1]
        offered = steps[-1].session.outputs
        self.recipe, self.views = plan.engine.recipe, plan.engine.views
        self.image = image_source(self.recipe)
        self.depth = depth_source(self.recipe) if plan.needs_depth else None
        self.steps = steps
        self.results = {
            output: f"{last.name}/{output}"
            for output in (*plan.results, *OPTIONAL_RESULTS)
            if output in offered
        }
        self.consumes = frozenset(value for step in steps for _, value in step.sources) | frozenset(
            self.results.values()
        )

    def run(self, values: Values) -> None:
        """Compute what ``values`` lacks and add it; ``results`` says under which names.

        Parameters
        ----------
        values
            Holds the frame under ``image`` (and ``depth``); changed in place.

        Raises
        ------
        GraphError
            A graph refuses its inputs.
        """
        for step in self.steps:
            if all(name in values for name in step.names):
                continue
            feed = {**step.tensors}
            for name, value in step.sources:
                feed[name] = values[value]
            found = step.session.run(step.outputs, feed)
            for name, array in zip(step.names, found, strict=True):
                values[name] = array

    def rows(self, values: Values, rows: list[int]) -> Values:
        """Take the frames ``rows`` out of a batch, as far as this chain can use its values.

        Those are what other chains saw of single images, so that each has a row for every view.
        """
        places = [row * self.views + view for row in rows for view in range(self.views)]
        try:
            return {name: values[name][places] for name in self.consumes if name in values}
        except (IndexError, TypeError):
            raise GraphError(
                f"a graph before {self.steps[-1].session.graph[:12]} gives other numbers of values "
                "than there are frames; export the bundle again"
            ) from None


def build_chain(
    plan: ChainPlan,
    wanted: Wanted,
    sessions: Sequence[GraphSession],
    tensors: Mapping[str, object],
    owner: str,
) -> Chain:
    """Join a plan with sessions and tensors.

    Parameters
    ----------
    plan
        From `plan_chain`.
    wanted
        Outputs to fetch by stage; more than the chain itself uses where another chain, run later on
        the same frame, would otherwise have to run the stage again.
    sessions
        One for each stage.
    tensors
        The engine's tensors by name, where the graphs run.
    owner
        Whose engine it is, for messages.

    Raises
    ------
    BundleError
        A bound tensor is not in the engine's tensor object.
    """
    steps = []
    for stage, session in zip(plan.stages, sessions, strict=True):
        outputs = set(wanted[stage.name])
        if stage is plan.stages[-1]:
            outputs.update(session.outputs.intersection(OPTIONAL_RESULTS))
        steps.append(join_stage(stage, session, sorted(outputs), tensors, owner))
    return Chain(plan, tuple(steps))


def join_stage(
    stage: StagePlan,
    session: GraphSession,
    outputs: Sequence[str],
    tensors: Mapping[str, object],
    owner: str,
) -> Step:
    """Join a stage with its session and tensors; BundleError if one is not there."""
    require_tensors(stage, tensors, owner)
    return Step(
        session=session,
        outputs=tuple(outputs),
        names=tuple(sys.intern(f"{stage.name}/{output}") for output in outputs),
        sources=stage.sources,
        tensors={name: tensors[tensor] for name, tensor in stage.tensors},
    )


def require_tensors(stage: StagePlan, tensors: Mapping[str, object], owner: str) -> None:
    """Raise BundleError unless every tensor that a stage is bound to is there."""
    missing = [tensor for _, tensor in stage.tensors if tensor not in tensors]
    if missing:
        raise BundleError(
            f"{owner} needs the tensor {missing[0][:80]!r}, which its tensor object lacks; export "
            "the bundle again"
        )
