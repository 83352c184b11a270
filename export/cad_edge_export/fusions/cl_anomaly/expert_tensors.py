"""The tensors of tasks with shared weights as engines bind them: what each owns, what all share."""

from dataclasses import dataclass

import numpy as np

from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import ModulePrecision
from cad_edge_export.fusions.cl_anomaly.packing import pack_private, pack_shared
from cad_edge_export.language.decision import Mix
from cad_edge_export.language.experts import Composition
from cad_edge_export.language.gate import ANCHORS, needs_anchor, pack_anchor
from cad_edge_export.language.vision import pack_projector
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.config import Config


@dataclass(frozen=True)
class ExpertTensors:
    """What the engines of tasks with shared weights are made of."""

    mix: Mix
    own: tuple[Tensors, ...]
    """Per task its expert, and its anchor where gates need it; empty without private experts."""
    common: Tensors
    """Shared experts and routers of the newest model version."""
    projector: Tensors
    """Empty where none was learned."""
    index: int
    """Place of the task that is exported."""

    @property
    def knows_expert(self) -> bool:
        """Whether one private expert answers, or none, whatever the image shows."""
        return not needs_anchor(self.mix.routing, self.mix.composition.private)

    @property
    def needs_no_router(self) -> bool:
        """Whether the weights of the shared experts are the same for every token and image."""
        return any(name.startswith("fixed_") for name in self.common)

    @property
    def chosen(self) -> Tensors:
        """Expert of the task itself; empty without private experts."""
        return self.own[self.index] if self.own else {}

    def members(self) -> Tensors:
        """Return the private experts that take part, concatenated along the axis of tasks."""
        if self.knows_expert:
            return self.chosen
        return {name: np.concatenate([one[name] for one in self.own]) for name in self.own[0]}


def pack_expert_tensors(
    task: LearnedTask, base: LlavaBase, config: Config, precision: ModulePrecision
) -> ExpertTensors:
    """Pack the tensors of ``task`` and of those that it shares weights with.

    Parameters
    ----------
    task
        With `LearnedTask.sharing_tasks`.
    base
        Base model, for its number of layers.
    config
        Options that all of them were learned with.
    precision
        Of tensors that a decoder or projector computes with; anchors stay float32.
    """
    members = task.sharing_tasks or (task,)
    parts = config.composition
    shared_weights = members[-1].shared_weights
    layers = len(list(base.language.get_submodule("layers").children()))
    private, shared = parts.private > 0, parts.shared > 0
    composition = Composition(layers, parts.rank, private, parts.experts if shared else 0)
    with_anchor = needs_anchor(config.routing, private)

    def own(member: LearnedTask) -> Tensors:
        packed = pack_private(member.tensors, layers, config.scale * parts.private)
        return packed | (pack_anchor(member.tensors) if with_anchor else {})

    common = pack_shared(shared_weights, layers, config.scale * parts.shared) if shared else {}
    names = [member.artifact.task for member in members]
    return ExpertTensors(
        Mix(composition, config.routing, config.tau, task.artifact.views),
        tuple(to_precision(own(member), precision) for member in members) if private else (),
        to_precision(common, precision),
        to_precision(pack_projector(shared_weights), precision),
        names.index(task.artifact.task),
    )


def to_precision(tensors: Tensors, precision: ModulePrecision) -> Tensors:
    """Half precision for fp16, but for anchors, whose cosines lie close together."""
    if precision != "fp16":
        return tensors
    return {
        name: value if name == ANCHORS else value.astype(np.float16)
        for name, value in tensors.items()
    }
