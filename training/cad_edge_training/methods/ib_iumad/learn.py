"""Learning with IB-IUMAD: a step's products together, into one network that all products share."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from cad_edge.calibration import Calibration
from cad_edge.store.artifact import LearnedTask, Tensors, joined_tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.division import Division, Index, divide
from cad_edge_training.held_out_scores import HeldOutImages
from cad_edge_training.learned import (
    LearningRequest,
    LearningResult,
    require_options,
    require_whole_step,
)
from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.frozen import FrozenFeatures, joined, look_at_all
from cad_edge_training.methods.ib_iumad.held_out import (
    WHITENED,
    calibrate,
    kept,
    numbered,
    spread_evenly,
    to_keep,
)
from cad_edge_training.methods.ib_iumad.model import (
    DEPTH_RANGE,
    DEVIATION,
    IBIUMAD,
    MEAN,
    NETWORK,
    network_of,
    new_network,
    scaling_of,
    standardised,
)
from cad_edge_training.methods.ib_iumad.network import Network
from cad_edge_training.methods.ib_iumad.regulariser import DampedUpdates, collect_bases
from cad_edge_training.methods.ib_iumad.starting_point import fit_start
from cad_edge_training.methods.ib_iumad.training_loop import TrainingSet, train_first, train_further
from cad_edge_training.methods.ib_iumad.whitening import suffices

BASES, STEP = "basis/", "step"
"""Names in shared weights beside the model's: directions of old outputs, number of steps."""


def learn(request: LearningRequest, config: Config) -> LearningResult:
    """Learn a product on its own, as a step that has no other; errors are those of `learn_step`."""
    return learn_step([request], config)[0]


def learn_step(requests: Sequence[LearningRequest], config: Config) -> list[LearningResult]:
    """Learn products together; the last one's shared weights hold the network for all so far.

    Good parts are divided here and not by ``folds``: some are held out, however many there are.

    Parameters
    ----------
    requests
        One for each product, with the same tasks before.
    config
        Options of the method.

    Raises
    ------
    OptionError
        The backbone is no EfficientNet, or an option differs from that of the tasks before.
    DatasetError
        There are too few good parts of a product.
    ArtifactError
        What was learned before lacks its network.
    """
    first = requests[0]
    before = first.earlier[-1] if first.earlier else None
    require_options(first, config)
    if before is not None:
        require_network(before.shared_weights)
    learned_from, own, held_out = [], [], []
    for request in requests:
        division = divide(
            len(request.images), request.rate, request.seed, request.task, request.groups
        )
        held_out.append(request.held_out_images(division.held_out, division.groups))
        learned_from.append(_seen(request, config, division.learned))
        own.append(_own(request) | _kept_parts(request, config, division, learned_from[-1]))
    scaling = _scaling(before, learned_from, config)
    places = range(len(first.earlier), len(first.earlier) + len(requests))
    labels = [
        torch.full((_count(seen),), place) for place, seen in zip(places, learned_from, strict=True)
    ]
    training_set = TrainingSet(
        standardised(joined(learned_from), scaling_of(config, scaling)),
        torch.cat(labels),
        (first.seed, len(first.earlier)),
        first.progress,
    )
    network: Network | None = None
    bases: Tensors = {}
    if config.reconstruct:
        network, bases = _train(first, config, before, training_set, places.stop)
        bases = collect_bases(network, training_set.seen, bases, config.batch)
    step = 1 if before is None else 1 + int(before.shared_weights[STEP].item())
    shared_weights = _shared_weights(network, scaling, bases, step)
    members = [*_members(first), *own]
    return [
        LearningResult(
            tensors,
            _calibration(first.backbone, config, members, shared_weights, place, images),
            # The others name the step that they belong to, and nothing of its network.
            shared_weights if place == places[-1] else {STEP: shared_weights[STEP]},
        )
        for place, tensors, images in zip(places, own, held_out, strict=True)
    ]


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> IBIUMAD:
    """Return the reference model of a learned task.

    Parameters
    ----------
    backbone
        That all tasks were learned on.
    config
        Options that it was learned with.
    tensors
        `LearnedTask.model_tensors`.

    Raises
    ------
    ArtifactError
        The newest member was learned together with others that are not there.
    """
    require_network(tensors)
    return IBIUMAD.of(backbone, config, tensors)


def recalibrate(backbone: Backbone, config: Config, task: LearnedTask) -> Calibration:
    """Score a task's held-out good parts by the newest model version.

    Parameters and errors are those of `build_model`; ``task`` comes with its sharing tasks.
    """
    model = build_model(backbone, config, task.model_tensors())
    return calibrate(model, kept(task.tensors), HeldOutImages.behind(task.artifact.calibration))


def is_whole(shared_weights: Mapping[str, object]) -> bool:
    """Whether shared weights are those of a step, and not only the number of the one they are of.

    Without a network they hold what tokens are standardised with alone.
    """
    return any(name.startswith(MEAN) for name in shared_weights)


def require_network(tensors: Mapping[str, object]) -> None:
    """Raise ArtifactError where shared weights are not whole."""
    require_whole_step(is_whole(tensors))


def _own(request: LearningRequest) -> Tensors:
    """Return the range of a product's depth, if it is looked at."""
    found = request.depth_range
    return {} if found is None else {DEPTH_RANGE: np.array([found.low, found.high], np.float32)}


def _seen(request: LearningRequest, config: Config, index: Index) -> FrozenFeatures:
    """See some of a product's good parts."""
    own = _own(request)
    return look_at_all(
        request.backbone,
        config,
        request.images[index],
        None if request.depth is None else request.depth[index],
        torch.from_numpy(own[DEPTH_RANGE]) if own else None,
    )


def _kept_parts(
    request: LearningRequest, config: Config, division: Division, learned: FrozenFeatures
) -> Tensors:
    """Tensors of the good parts that the artifact keeps; ``learned`` has those learned from."""
    further = spread_evenly(np.arange(len(division.learned)))
    groups = numbered(
        request.groups, np.concatenate([division.held_out, division.learned[further]])
    )
    held_out = _seen(request, config, division.held_out)
    found = to_keep(held_out, learned.rows(torch.from_numpy(further)), groups)
    if config.residual == "whitened":
        shapes = [held_out.tokens[name].shape for name in config.targets]
        enough = suffices(groups, shapes[0][1], sum(shape[2] for shape in shapes))
        found[WHITENED] = np.array(enough, np.int64)
    return found


def _count(seen: FrozenFeatures) -> int:
    return len(next(iter(seen.tokens.values())))


def _scaling(before: LearnedTask | None, seen: Sequence[FrozenFeatures], config: Config) -> Tensors:
    """Return what tokens are standardised with: of the first step, for good."""
    if before is not None:
        return {
            name: value
            for name, value in before.shared_weights.items()
            if name.startswith((MEAN, DEVIATION))
        }
    found: Tensors = {}
    for name in config.modalities:
        tokens = torch.cat([one.tokens[name].flatten(0, 1) for one in seen]).double()
        mean, deviation = tokens.mean(dim=0), tokens.std(dim=0).clamp_min(1e-6)
        if not config.standardise:
            mean, deviation = torch.zeros_like(mean), torch.ones_like(deviation)
        found[MEAN + name] = mean.float().numpy()
        found[DEVIATION + name] = deviation.float().numpy()
    return found


def _train(
    request: LearningRequest,
    config: Config,
    before: LearnedTask | None,
    training_set: TrainingSet,
    classes: int,
) -> tuple[Network, Tensors]:
    """Return the network after the step, and the directions of old outputs before it."""
    if before is None:
        with torch.random.fork_rng([]):
            torch.manual_seed(request.seed)
            network = new_network(request.backbone, config, classes)
            if config.start == "fitted":
                fit_start(network, training_set.seen.tokens)
        train_first(network, training_set, config)
        return network, {}
    known = network_of(request.backbone, config, before.shared_weights)
    assert known is not None, "tasks that share what is learned have equal options"
    network = known
    bases = {
        name.removeprefix(BASES): value
        for name, value in before.shared_weights.items()
        if name.startswith(BASES)
    }
    damped = DampedUpdates(network, bases, config.pull) if config.regulariser else None
    with torch.random.fork_rng([]):
        torch.manual_seed(request.seed)
        network.grow(classes)
    train_further(network, training_set, config, damped)
    return network, bases


def _shared_weights(
    network: Network | None, scaling: Tensors, bases: Tensors, step: int
) -> Tensors:
    """Return what all products share after the step."""
    state = {} if network is None else network.state_dict()
    weights = {NETWORK + name: value.detach().numpy().copy() for name, value in state.items()}
    kept_bases = {BASES + name: value for name, value in bases.items()}
    return weights | scaling | kept_bases | {STEP: np.array(step, dtype=np.int64)}


def _members(request: LearningRequest) -> list[Tensors]:
    return [task.tensors for task in request.earlier]


def _calibration(
    backbone: Backbone,
    config: Config,
    members: Sequence[Tensors],
    shared_weights: Tensors,
    place: int,
    images: HeldOutImages,
) -> Calibration:
    model = build_model(backbone, config, joined_tensors(members, shared_weights, place))
    return calibrate(model, kept(members[place]), images)
