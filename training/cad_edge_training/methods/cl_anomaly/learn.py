"""Learning one task with CL-Anomaly: its expert, its anchor, and what the tasks share."""

from dataclasses import replace

import numpy as np
import torch

from cad_edge.calibration import Calibration
from cad_edge.errors import OptionError
from cad_edge.store.artifact import LearnedTask, Tensors, joined_tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.division import Division, divide
from cad_edge_training.fingerprint import fingerprint
from cad_edge_training.held_out_scores import HeldOutImages
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.cl_anomaly.adapted_model import AdaptedModel, adapted_model_of
from cad_edge_training.methods.cl_anomaly.anchors import AnchorSum
from cad_edge_training.methods.cl_anomaly.batches import Batches
from cad_edge_training.methods.cl_anomaly.checkpoints import Checkpoints, fingerprint_of
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.held_out import (
    calibrate,
    score_each,
    tokens_to_keep,
)
from cad_edge_training.methods.cl_anomaly.key_experts import KeyScores
from cad_edge_training.methods.cl_anomaly.mean_weights import mean_weights
from cad_edge_training.methods.cl_anomaly.merging import Keys, coefficients, merge
from cad_edge_training.methods.cl_anomaly.model import TOKENS, CLAnomaly
from cad_edge_training.methods.cl_anomaly.session import Session, open_accelerator
from cad_edge_training.methods.cl_anomaly.sites import layers_in, sites_of
from cad_edge_training.methods.cl_anomaly.start import (
    as_llava,
    check,
    shared_part,
    starting_values,
)
from cad_edge_training.methods.cl_anomaly.tower_tokens import ImageTokens
from cad_edge_training.methods.cl_anomaly.training_loop import TrainingSet, train_experts


def learn(request: LearningRequest, config: Config) -> LearningResult:
    """Learn one task; what earlier tasks own is not touched.

    Parameters
    ----------
    request
        Labelled training images, base model, seed and the tasks before. Good parts are divided
        here and not by ``folds``: some are held out, however many there are.
    config
        Options of the method.

    Raises
    ------
    DatasetError
        No training image has a defect, or there are too few of good parts.
    OptionError
        The backbone has no language model, an option differs from that of the tasks before, the
        adapter does not fit, or accelerate is not installed.
    """
    base = as_llava(request.backbone)
    check(request, config)
    division = divide(len(request.images), request.rate, request.seed, request.task, request.groups)
    start = starting_values(request, config, base)
    session = _session(request, config, start)
    adapted = adapted_model_of(base, config, start, session.accelerator.device)
    training_set = _training_set(request, config, adapted, division, session)
    anchor = session.join_anchors(training_set.tokens.measure(session.share, request.progress))
    scores = KeyScores(layers_in(sites_of(base.language)), config.composition.experts)
    train_experts(adapted, training_set, config, session, scores)
    found = {name: value.detach().cpu().numpy() for name, value in adapted.learned.items()}
    keys = session.join_scores(scores).keys(config.key_experts).numpy()
    own = _own(found, anchor, keys if config.composition.shared else None)
    own[TOKENS] = tokens_to_keep(adapted.base, request.images[division.held_out])
    shared_weights = _shared_weights(request, config, base, found, keys)
    tensors = _model_tensors(request, own, shared_weights)
    images = request.held_out_images(division.held_out, division.groups)
    return LearningResult(own, _calibration(base, config, tensors, own, images), shared_weights)


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> CLAnomaly:
    """Return the reference model of a learned task.

    Parameters
    ----------
    backbone
        The base model.
    config
        Options that all tasks were learned with.
    tensors
        `LearnedTask.model_tensors`.

    Raises
    ------
    OptionError
        The backbone has no language model.
    """
    return CLAnomaly.of(as_llava(backbone), config, tensors)


def recalibrate(backbone: Backbone, config: Config, task: LearnedTask) -> Calibration:
    """Score a task's held-out good parts by the newest model version.

    Parameters
    ----------
    backbone
        The base model.
    config
        Options that all tasks were learned with.
    task
        With `LearnedTask.sharing_tasks`.

    Raises
    ------
    OptionError
        The backbone has no language model.
    """
    images = HeldOutImages.behind(task.artifact.calibration)
    return _calibration(as_llava(backbone), config, task.model_tensors(), task.tensors, images)


def held_out_scores(backbone: Backbone, config: Config, task: LearnedTask) -> list[float]:
    """Scores of a task's held-out good parts as in `recalibrate`, but in the order of the parts."""
    model = _fast_model(as_llava(backbone), config, task.model_tensors())
    return score_each(model, task.tensors[TOKENS])


def without_router(backbone: Backbone, config: Config, task: LearnedTask) -> LearnedTask:
    """Give a task shared experts whose weights are the same for every token and image.

    What the routers say is replaced by its mean over the task's held-out good parts. This is an
    approximation (METHODS 1.4).

    Parameters
    ----------
    backbone
        The base model.
    config
        Options that all tasks were learned with.
    task
        With `LearnedTask.sharing_tasks`.

    Raises
    ------
    OptionError
        The backbone has no language model, or the task has no shared experts.
    """
    if not config.composition.shared:
        raise OptionError(
            f"{task.artifact.task} was learned without shared experts, so that there are none to "
            "merge; leave --merge-shared out"
        )
    model = _fast_model(as_llava(backbone), config, task.model_tensors())
    last = task.sharing_tasks[-1]
    newest = replace(
        last, shared_weights=last.shared_weights | mean_weights(model, task.tensors[TOKENS])
    )
    return replace(task, sharing_tasks=(*task.sharing_tasks[:-1], newest))


def _calibration(
    base: LlavaBase, config: Config, tensors: Tensors, own: Tensors, images: HeldOutImages
) -> Calibration:
    return calibrate(_fast_model(base, config, tensors), own[TOKENS], images)


def _fast_model(base: LlavaBase, config: Config, tensors: Tensors) -> CLAnomaly:
    """Return the reference model where it is fastest."""
    device = torch.device("cuda") if torch.cuda.is_available() else None
    return CLAnomaly.of(base, config, tensors, device)


def _session(request: LearningRequest, config: Config, start: Tensors) -> Session:
    """Open what the training runs in; a checkpoint is known again by all that it starts from."""
    accelerator = open_accelerator(config.batch)
    words = {
        "config": config.model_dump(mode="json"),
        "seed": request.seed,
        "rate": request.rate,
        "base": request.backbone.identity.sha256,
        "good": fingerprint(request.images),
        "defective": fingerprint(request.defective),
        "processes": accelerator.num_processes,
    }
    if request.groups is not None:
        words["groups"] = request.groups
    checkpoints = Checkpoints(request.workspace, fingerprint_of(words, start))
    seeds = (request.seed, len(request.earlier))
    return Session(accelerator, seeds, checkpoints, request.progress)


def _training_set(
    request: LearningRequest,
    config: Config,
    adapted: AdaptedModel,
    division: Division,
    session: Session,
) -> TrainingSet:
    shown = np.concatenate([request.images[division.learned], request.defective])
    labels = np.repeat([0, 1], [len(division.learned), len(request.defective)])
    return TrainingSet(
        ImageTokens(adapted.base, shown, config.train_projector),
        torch.from_numpy(labels),
        Batches(labels, config.batch, config.epochs, config.balanced, session.seeds),
    )


def _own(found: Tensors, anchor: AnchorSum, keys: Keys | None) -> Tensors:
    """Return what this task alone owns, but for its held-out good parts."""
    own = {name: value for name, value in found.items() if name.startswith("private/")}
    own |= {
        "anchor": anchor.mean().numpy(),
        "anchor_sum": anchor.total.numpy(),
        "anchor_count": np.array(anchor.count, dtype=np.int64),
    }
    return own if keys is None else own | {"keys": keys}


def _shared_weights(
    request: LearningRequest, config: Config, base: LlavaBase, found: Tensors, keys: Keys
) -> Tensors:
    """Return what the tasks share after this one, Eq. 9-10 applied."""
    shared_weights = shared_part(found)
    parts = config.composition
    if parts.merged and request.earlier:
        before = request.earlier[-1]
        beta = coefficients(before.tensors["keys"], keys, parts.experts)
        shared_weights = merge(before.shared_weights, shared_weights, beta, sites_of(base.language))
    # Without shared experts this is all there is, and gates still change with every task.
    return shared_weights | {"stage": np.array(1 + len(request.earlier), dtype=np.int64)}


def _model_tensors(request: LearningRequest, own: Tensors, shared_weights: Tensors) -> Tensors:
    """Return what `LearnedTask.model_tensors` will be once the artifact is written."""
    members = [*(task.tensors for task in request.earlier), own]
    return joined_tensors(members, shared_weights, len(request.earlier))
