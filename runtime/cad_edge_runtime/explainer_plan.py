"""Plans of explainers: the sources of what answers in words, resolved before there is a session."""

from dataclasses import dataclass, replace

from cad_edge.errors import BundleError
from cad_edge.store.manifest import Engine, Explainer, Stage
from cad_edge_runtime.chain import ChainPlan, StagePlan, Wanted, plan_chain
from cad_edge_runtime.decoding import LOOP
from cad_edge_runtime.opening import united


@dataclass(frozen=True)
class ExplainerPlan:
    """An explainer with all its sources resolved."""

    looking: ChainPlan
    """Its engine."""

    wanted: Wanted
    """Outputs of the engine's stages that anything of the explainer uses."""

    tokens: str
    decoder: StagePlan
    loop: tuple[tuple[str, str], ...]


def plan_explainer(record: Explainer, owner: str) -> ExplainerPlan:
    """Resolve the sources of an explainer.

    Raises
    ------
    BundleError
        A source is not there, or the decoder does not take the loop's three once each.
    """
    inputs = record.decoder.inputs
    loop = tuple((name, source) for name, source in inputs.items() if source.startswith("loop/"))
    if sorted(source for _, source in loop) != sorted(LOOP):
        raise BundleError(
            f"the decoder of {owner} does not take {', '.join(LOOP)} once each; export the bundle "
            "again"
        )
    looped = dict(loop)
    rest = {name: source for name, source in inputs.items() if name not in looped}
    decoder = _plan_after(record.engine, record.decoder.graph, rest, owner)
    image = _plan_after(record.engine, record.decoder.graph, {"tokens": record.tokens}, owner)
    if not image.stages[-1].sources:
        raise BundleError(
            f"{owner} takes what it sees from {record.tokens[:80]!r}, which is no output of a "
            "stage; export the bundle again"
        )
    return ExplainerPlan(
        looking=replace(decoder, engine=record.engine, stages=decoder.stages[:-1]),
        wanted=united([decoder.wanted(), image.wanted()]),
        tokens=image.stages[-1].sources[0][1],
        decoder=decoder.stages[-1],
        loop=loop,
    )


def _plan_after(engine: Engine, graph: str, inputs: dict[str, str], owner: str) -> ChainPlan:
    """Resolve ``inputs`` as those of a further stage of ``engine``."""
    stages = [*engine.stages, Stage(graph=graph, inputs=inputs)]
    return plan_chain(engine.model_copy(update={"stages": stages}), (), owner)
