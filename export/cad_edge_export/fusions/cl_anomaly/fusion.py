"""CL-Anomaly fused: one pass of tower and decoder per frame, and experts as one gated product.

Exact rewrites (METHODS 1.4): experts stacked, their factors within B; the fixed prompt and its
positions as constants; the head cut to Yes and No; the last layer at the last position alone; of
the tower no more than tokens need. Where the image does not choose experts, the fused layout merges
the task's own into the linears and reads the text before the image once and for all.

Entry and tower see the views of a frame as so many images, by the graphs of one view; the decision
puts their rows together (docs/decisions/0019-several-views.md).
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.fusion import Fusion
from cad_edge_export.fusions.cl_anomaly.expert_tensors import (
    ExpertTensors,
    pack_expert_tensors,
    to_precision,
)
from cad_edge_export.language.decision import ANCHOR, OUTPUTS, BoundDecision, LanguageDecision
from cad_edge_export.language.decoder import LanguageDecoder
from cad_edge_export.language.experts import merged_changes, merged_shared, stacked_experts
from cad_edge_export.language.explainer import (
    ExplainerSource,
    embedding_of,
    most_positions,
    speaking,
    texts_of,
)
from cad_edge_export.language.gate import ANCHORS, of_frame, weights
from cad_edge_export.language.vision import VisionModule
from cad_edge_export.trunk import (
    enter,
    entry_stage,
    folded,
    image_input,
    in_precision,
    views_key,
)
from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.backbones.llava.greedy_answers import GreedyAnswers
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.explanation import greedy
from cad_edge_training.methods.cl_anomaly.learn import build_model
from cad_edge_training.methods.cl_anomaly.start import as_llava

Array = np.ndarray[Any, np.dtype[Any]]

EXAMPLE_TASKS = 3  # of the axis that grows; torch.export takes one for a constant


def shared(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """Entry, rest of the tower, and decision, with experts and anchors of all tasks as tensors.

    Where the image chooses among experts, those of all tasks are joint tensors, one object for each
    task. Where the selector has chosen, the engine binds the task's own alone: a new task then
    changes nothing of it but the shared weights.
    """
    base, config = as_llava(backbone), Config.model_validate(task.artifact.hyperparameters)
    packed = pack_expert_tensors(task, base, config, precision)
    decoder = LanguageDecoder(base.language)
    if precision == "fp16":
        decoder.to_half()
    views = packed.mix.views
    decision = LanguageDecision(base, config.question, decoder, precision, views)
    bound = bound_inputs(packed)
    module = BoundDecision(decision, packed.mix, tuple(item.name for item in bound))
    tokens = torch.zeros(2 * views, base.n_patches + 1, base.width)
    inputs = (GraphInput("tokens", "1/tokens", tokens, (0,), views=views), *bound)
    key = f"decision {base.identity.sha256} {base.recipe} {config} {_shapes(bound)} {precision}"
    key += views_key(views)
    stages = (*seeing(base, config, packed, precision), StageModule(module, inputs, OUTPUTS, key))
    return FusedTask(stages, *bound_objects(packed), views=views)


def fused(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """One self-contained graph: image -> score, probability."""
    base, config = as_llava(backbone), Config.model_validate(task.artifact.hyperparameters)
    packed = pack_expert_tensors(task, base, config, "fp32")
    module, views = SelfContainedDecision(base, config, packed, precision), packed.mix.views
    stage = StageModule(module, (image_input(base, views),), OUTPUTS[:2])
    return FusedTask((stage,), views=views)


def explained(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> ExplainerSource:
    """Return what the task answers in words with; its stages are those of the shared layout."""
    base, config = as_llava(backbone), Config.model_validate(task.artifact.hyperparameters)
    packed = pack_expert_tensors(task, base, config, precision)
    # The anchor is that of one frame here, where a decision has a batch.
    views = packed.mix.views
    bound = tuple(
        replace(item, example=item.example[:views], dynamic=()) if item.name == ANCHOR else item
        for item in bound_inputs(packed)
    )
    key = f"words {base.identity.sha256} {packed.mix} {_shapes(bound)} {precision}"
    key += views_key(views)
    decoder = speaking(base, precision, packed.mix, bound, key)
    heads = decoder.inputs[1].example.shape
    return ExplainerSource(
        engine=FusedTask(
            seeing(base, config, packed, precision), *bound_objects(packed), views=views
        ),
        tokens="1/tokens",
        decoder=decoder,
        layers=heads[0],
        kv_heads=heads[2],
        head_width=heads[4],
        positions=most_positions(base),
        embedding=embedding_of(base, precision),
        tokenizer=base.tokenizer.to_str().encode(),
        texts=texts_of(base, config.question),
        reference=partial(_said, base, config, task),
    )


def _said(
    base: LlavaBase, config: Config, task: LearnedTask, images: Array, count: int
) -> GreedyAnswers:
    model = build_model(base, config, task.model_tensors())
    with torch.inference_mode():
        return greedy(model, model.raw(torch.from_numpy(images)), count)


def entry(backbone: Backbone, config: Config, precision: ModulePrecision) -> StageModule:
    """First stage of every engine and of the selector."""
    return entry_stage(backbone, entry_block(backbone, config), precision)


def entry_block(backbone: Backbone, config: Config) -> int:
    """Last block of the entry: as far as routing goes, but not past one that tokens are made of."""
    return min(max(backbone.routing_blocks), *as_llava(backbone).token_blocks)


def seeing(
    base: LlavaBase, config: Config, packed: ExpertTensors, precision: ModulePrecision
) -> tuple[StageModule, StageModule]:
    """Entry and rest of the tower: image -> descriptor, hidden -> tokens, anchor."""
    first, last = entry(base, config, precision), entry_block(base, config)
    network: object = first.module.backbone
    assert isinstance(network, LlavaBase)
    with torch.inference_mode():
        hidden = first.module(first.inputs[0].example)[1].clone()
    names = tuple(packed.projector)
    bound = tuple(_bound(name, packed.projector[name]) for name in names)
    key = f"vision {base.identity.sha256} {base.recipe} {last} {names} {precision}"
    vision = StageModule(
        VisionModule(network, last, precision, names),
        (GraphInput("hidden", "0/hidden", hidden, (0,)), *bound),
        ("tokens", ANCHOR),
        key,
    )
    return first, vision


def bound_inputs(packed: ExpertTensors) -> tuple[GraphInput, ...]:
    """Return the inputs by which experts, and what chooses among them, come to a decoder."""
    inputs = []
    if not packed.knows_expert:
        width, views = packed.own[0][ANCHORS].shape[1], packed.mix.views
        example = torch.zeros(2 * views, width)
        inputs.append(GraphInput(ANCHOR, f"1/{ANCHOR}", example, (0,), views=views))
    for name, value in sorted(packed.chosen.items()):
        if packed.knows_expert:
            inputs.append(_bound(name, value))
            continue
        example = torch.from_numpy(np.repeat(value, EXAMPLE_TASKS, axis=0))
        inputs.append(GraphInput(name, f"tensor/{name}", example, sizes={0: "tasks"}))
    return (*inputs, *(_bound(name, value) for name, value in sorted(packed.common.items())))


def bound_objects(packed: ExpertTensors) -> tuple[Tensors, tuple[Tensors, ...]]:
    """Tensors of the task alone, and joint ones."""
    common = tuple(part for part in (packed.common | packed.projector,) if part)
    if packed.knows_expert:
        return packed.chosen, common
    return {}, (*packed.own, *common)


def _bound(name: str, value: Array) -> GraphInput:
    return GraphInput(name, f"tensor/{name}", torch.from_numpy(value))


def _shapes(bound: tuple[GraphInput, ...]) -> dict[str, tuple[int | str, ...]]:
    """Shapes of inputs by name, with the names of sizes that vary."""
    return {
        item.name: tuple(item.sizes.get(axis, size) for axis, size in enumerate(item.example.shape))
        for item in bound
    }


class SelfContainedDecision(nn.Module):
    """image -> score, probability with the weights of all tasks as constants."""

    def __init__(
        self, base: LlavaBase, config: Config, packed: ExpertTensors, precision: ModulePrecision
    ) -> None:
        """Bake the tensors of all tasks, which are in float32, for one of them."""
        super().__init__()
        network = in_precision(folded(base), precision)
        assert isinstance(network, LlavaBase)
        self.vision = VisionModule(network, -1, precision, tuple(packed.projector))
        self.precision = precision
        self.projector = [*_constants(to_precision(packed.projector, precision)).values()]
        decoder, composition = LanguageDecoder(base.language), packed.mix.composition
        tensors, common = packed.members(), packed.common
        if packed.knows_expert and composition.private:
            decoder.merge(merged_changes(_constants(packed.chosen), composition.layers))
            tensors, composition = {}, replace(composition, private=False)
        if packed.needs_no_router:
            decoder.merge(merged_shared(_constants(common), composition.layers))
            common, composition = {}, replace(composition, shared=0)
        tensors = common | tensors
        if precision == "fp16":
            decoder.to_half()
        self.constants = _constants(to_precision(tensors, precision))
        self.mix = replace(packed.mix, composition=composition)
        self.experts = stacked_experts(self.constants, composition)
        self.decision = LanguageDecision(base, config.question, decoder, precision, self.mix.views)
        if packed.knows_expert:
            self.decision.read_ahead(self.experts)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames (batch * views, height, width, 3) uint8."""
        hidden = enter(self.vision.base, image, self.precision)
        tokens, anchor = self.vision(hidden.float(), *self.projector)
        chosen = of_frame(anchor, self.mix.views) if ANCHORS in self.constants else None
        mu = weights(chosen, self.constants, self.mix.routing, self.mix.tau)
        score, probability, _ = self.decision(tokens, self.experts, mu)
        return score, probability


def _constants(tensors: Tensors) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in tensors.items()}


class CLAnomalyFusion:
    """CL-Anomaly as the exporter sees it."""

    shared = staticmethod(shared)
    fused = staticmethod(fused)
    entry = staticmethod(entry)
    explained = staticmethod(explained)


FUSION: Fusion[Config] = CLAnomalyFusion()
