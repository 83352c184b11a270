"""CDAD fused: graphs that all products of a model version share, and one noise for all of them.

Exact rewrites (METHODS 4.4): guidance and its second call are gone; AMN is called once; time
embeddings are constants; the latents' matrix is a convolution; map = A S A^T. Up to four steps are
written out in one graph; of more, one graph of a step is run again and again, each time with
another step's numbers bound to it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from cad_edge.errors import OptionError
from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.fusion import Fusion
from cad_edge_export.fusions.cdad.graph_parts import GraphParts
from cad_edge_export.fusions.cdad.reconstruction import (
    Condition,
    Denoise,
    Reconstruction,
    SelfContainedReconstruction,
    parts_of,
    step_tensors,
)
from cad_edge_export.trunk import entry_stage, image_input
from cad_edge_training.backbones import Backbone, weights_sha256
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.latents import LATENT
from cad_edge_training.methods.cdad.learn import build_model
from cad_edge_training.methods.cdad.model import CDAD
from cad_edge_training.methods.cdad.network import NETWORK
from cad_edge_training.methods.cdad.start import NOISE

OUTPUTS = ("score", "anomaly_map")
UNROLLED = 4  # steps that one graph holds in the shared layout
MOST_UNROLLED = 20  # in the fused layout, which has no chain
MOST_CHAINED = 900  # a manifest has room for 1000 stages


def shared(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """Entry, and graphs for the rest that all products have in common.

    Raises
    ------
    ArtifactError
        The network of the model version is not there, or is of another size of images.
    OptionError
        The sampler has more steps than a chain can have.
    """
    config = Config.model_validate(task.artifact.hyperparameters)
    _require_steps(config, MOST_CHAINED, "an engine can have", "")
    tensors = task.model_tensors()
    model = build_model(backbone, config, tensors)
    return shared_stages(model, precision, shared_key(backbone, config, tensors, precision))


def shared_stages(model: CDAD, precision: ModulePrecision, key: str) -> FusedTask:
    """Stages of a model, whose graphs are known by ``key``."""
    backbone, config = model.backbone, model.config
    first = entry(backbone, config, precision)
    with torch.inference_mode():
        hidden = first.module(first.inputs[0].example)[1].clone()
    parts = parts_of(model, entry_block(backbone, config), precision)
    given: tuple[GraphInput, ...] = (
        GraphInput("hidden", "0/hidden", hidden, (0,)),
        GraphInput(NOISE, f"tensor/{NOISE}", model.noise.clone()),
    )
    if parts.sees_pictures:
        given = (*given, image_input(backbone))
    bound = {NOISE: model.noise.numpy()}
    if config.steps <= UNROLLED:
        head = Reconstruction(parts)
        return FusedTask((first, StageModule(head, given, OUTPUTS, f"head {key}")), bound)
    told = ("latents", "x", "added")
    condition = StageModule(Condition(parts), given, told, f"condition {key}")
    steps = step_tensors(parts)
    stages = (first, condition, *_chained(parts, condition, steps, key))
    for number, one in enumerate(steps):
        bound |= {_of_step(name, number): value.numpy() for name, value in one.items()}
    return FusedTask(stages, bound)


def fused(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """One self-contained graph: image -> score, map; the same for all products.

    Errors are those of `shared`; OptionError where the steps are too many to be written out.
    """
    config = Config.model_validate(task.artifact.hyperparameters)
    _require_steps(config, MOST_UNROLLED, "one graph can hold", ", or give --layout shared")
    tensors = task.model_tensors()
    module = SelfContainedReconstruction(build_model(backbone, config, tensors), precision)
    key = f"fused {shared_key(backbone, config, tensors, precision)}"
    key += weights_sha256({NOISE: module.noise})
    return FusedTask((StageModule(module, (image_input(backbone),), OUTPUTS, key),))


def entry(backbone: Backbone, config: Config, precision: ModulePrecision) -> StageModule:
    """First stage of every engine and of the selector."""
    return entry_stage(backbone, entry_block(backbone, config), precision)


def entry_block(backbone: Backbone, config: Config) -> int:
    """Last block of the entry: as far as routing goes, but not past one that latents are of."""
    return min(max(backbone.routing_blocks), config.blocks[0])


def shared_key(
    backbone: Backbone, config: Config, tensors: Tensors, precision: ModulePrecision
) -> str:
    """Key of the graphs of a model version; noise and the numbers of steps are bound to them."""
    weights = {
        name: torch.from_numpy(value)
        for name, value in tensors.items()
        if name.startswith((NETWORK, LATENT))
    }
    return (
        f"cdad {backbone.identity.sha256} {backbone.recipe} {config} {precision} "
        + weights_sha256(weights)
    )


def _chained(
    parts: GraphParts, condition: StageModule, steps: list[dict[str, Tensor]], key: str
) -> list[StageModule]:
    """Stages of all steps, which are one graph, and of the verdict."""
    with torch.inference_mode():
        latents, x, added = condition.module(*(one.example for one in condition.inputs))
    module = Denoise(parts)
    stages = []
    for number, numbers in enumerate(steps):
        source = f"{number + 1}/next" if number else "1/x"
        inputs = (
            GraphInput("x", source, x.clone(), (0,)),
            GraphInput("added", "1/added", added.clone(), (0,)),
            *_bound(numbers, number),
        )
        stages.append(StageModule(module, inputs, ("next",), f"denoise {key}"))
    compared = (
        GraphInput("latents", "1/latents", latents.clone(), (0,)),
        GraphInput("restored", f"{len(steps) + 1}/next", x.clone(), (0,)),
    )
    return [*stages, StageModule(parts.judge, compared, OUTPUTS, f"judge {key}")]


def _bound(numbers: Mapping[str, Tensor], step: int) -> tuple[GraphInput, ...]:
    return tuple(
        GraphInput(name, f"tensor/{_of_step(name, step)}", value) for name, value in numbers.items()
    )


def _of_step(name: str, step: int) -> str:
    """Name of a bound tensor."""
    return f"{name}.{step}"


def _require_steps(config: Config, most: int, what: str, instead: str) -> None:
    if config.steps > most:
        raise OptionError(
            f"the sampler has {config.steps} steps, and {what} {most} at most; learn with fewer "
            f"steps{instead}"
        )


class CDADFusion:
    """CDAD as the exporter sees it."""

    shared = staticmethod(shared)
    fused = staticmethod(fused)
    entry = staticmethod(entry)


FUSION: Fusion[Config] = CDADFusion()
