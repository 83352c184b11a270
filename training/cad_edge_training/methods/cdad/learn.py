"""Learning with CDAD: a step's products together, into one network that all products share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cad_edge.calibration import Calibration
from cad_edge.errors import DatasetError
from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.division import Division, divide
from cad_edge_training.held_out_scores import HeldOutImages, calibrate
from cad_edge_training.learned import (
    Images,
    LearningRequest,
    LearningResult,
    require_options,
    require_whole_step,
)
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.exemplars import Exemplars, exemplars_of
from cad_edge_training.methods.cdad.form import Form, look_at_all
from cad_edge_training.methods.cdad.forms import form_of
from cad_edge_training.methods.cdad.held_out import (
    EXPLAINED,
    FREE,
    HELD_OUT,
    calibration,
    explained,
    judge,
)
from cad_edge_training.methods.cdad.model import CDAD, SIZE, is_whole, model_of, require_size
from cad_edge_training.methods.cdad.parts import Parts, Space, joined
from cad_edge_training.methods.cdad.projection import ProjectedUpdates
from cad_edge_training.methods.cdad.protection import protect
from cad_edge_training.methods.cdad.start import Start
from cad_edge_training.methods.cdad.training_loop import Constraints, TrainingData, train
from cad_edge_training.synthetic import synthetic_defects

STEP = "step"
"""Name in shared weights: how many steps were learned, () int64."""
COPIES = 2  # of each good part with a synthetic defect


@dataclass(frozen=True)
class ProductFeatures:
    """Good parts of a product as frozen networks see them."""

    division: Division
    clean: Parts
    defective: Parts
    """(n * COPIES, ...), the copies of an image one after another."""
    held_out: Parts

    @staticmethod
    def of(request: LearningRequest, form: Form) -> "ProductFeatures":
        """Look at all good parts, and at copies with synthetic defects of those learned from."""
        images, seed = request.images, request.seed
        division = divide(len(images), request.rate, seed, request.task, request.groups)
        learned = images[division.learned]
        if bool((learned == learned[:1]).all()):
            raise DatasetError(
                f"task {request.task}: all {len(learned)} good parts look the same; the network "
                "learns from how good parts differ, so give images of different parts"
            )
        copies = [_damaged(learned, seed, number) for number in range(COPIES)]
        shown = learned, np.stack(copies, axis=1).reshape(-1, *images.shape[1:])
        clean, defective, held_out = (
            look_at_all(form, one, request.progress) for one in (*shown, images[division.held_out])
        )
        return ProductFeatures(division, clean, defective, held_out)

    def latents(self, space: Space) -> TrainingData:
        """Latents of what is learned from."""
        return TrainingData(space.parts(self.clean), space.parts(self.defective).grouped(COPIES))


def _damaged(images: Images, seed: int, copy: int) -> Images:
    """Give images (n, height, width, 3) a defect each, of another kind in every copy."""
    turned = np.roll(images, copy, axis=0)  # kinds take turns by place
    return np.roll(synthetic_defects(turned, seed + copy)[0], -copy, axis=0)


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
        An option differs from that of the tasks before.
    DatasetError
        Good parts of a product are too few, or all the same.
    ArtifactError
        What was learned before lacks its network, or has one of another input size or width.
    CadEdgeError
        The network cannot learn: a loss is not a number, or there is no room left.
    """
    first = requests[0]
    require_options(first, config)
    form = form_of(first.backbone, config)
    before = _network_before(first)
    products = [ProductFeatures.of(request, form) for request in requests]
    start = form.start(before, joined([one.clean for one in products]), first.seed)
    each = [one.latents(start.space) for one in products]
    data = TrainingData(joined([e.clean for e in each]), joined([e.defective for e in each]))
    if before is None:
        train(start.network, data, config, Constraints(), first.seed, first.progress)
    else:
        _learn_on(start, data, first, form)
    bases = start.bases
    if config.projection != "none":
        bases = protect(start.network, data, start.noise, bases, config)
    recipe = first.backbone.recipe
    shared_weights = start.tensors() | bases.to_tensors()
    shared_weights[SIZE] = np.array([recipe.height, recipe.width], np.int64)
    shared_weights[STEP] = np.array(1 if before is None else 1 + before[STEP].item(), np.int64)
    model = model_of(form, shared_weights)
    free = 1 - start.bases.share().overall if start.bases.by_name else 1.0
    results = [
        _result(request, product, own, model, free)
        for request, product, own in zip(requests, products, each, strict=True)
    ]
    # The others name the step that they belong to, and nothing of its network.
    step = {STEP: shared_weights[STEP]}
    return [
        *(replace(one, shared_weights=step) for one in results[:-1]),
        replace(results[-1], shared_weights=shared_weights),
    ]


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> CDAD:
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
    return model_of(form_of(backbone, config), tensors)


def recalibrate(backbone: Backbone, config: Config, task: LearnedTask) -> Calibration:
    """Score a task's held-out good parts by the newest model version.

    Parameters and errors are those of `build_model`; ``task`` comes with its sharing tasks.
    """
    model = build_model(backbone, config, task.model_tensors())
    return calibration(model, task.tensors, HeldOutImages.behind(task.artifact.calibration))


def require_network(tensors: Mapping[str, object]) -> None:
    """Raise ArtifactError where shared weights hold no network."""
    require_whole_step(is_whole(tensors))


def _network_before(request: LearningRequest) -> Tensors | None:
    """Shared weights of the step before, None at the first."""
    if not request.earlier:
        return None
    before = request.earlier[-1].shared_weights
    require_network(before)
    require_size(request.backbone, before)
    return before


def _learn_on(start: Start, data: TrainingData, request: LearningRequest, form: Form) -> None:
    """Learn a further step, kept out of older products' directions where options say so."""
    config = form.config
    projected = None
    if config.projection != "none":
        projected = ProjectedUpdates(
            start.network, start.bases, start.network.basis_of(), config.projection
        )
    # Decay would shrink what older products have, with no part of theirs at hand to hold it.
    undecayed = config.model_copy(update={"weight_decay": 0.0})
    seed = request.seed + len(request.earlier)
    exemplars = Exemplars.of_tasks(request.earlier, start.noise, form)
    constraints = Constraints(projected, exemplars)
    train(start.network, data, undecayed, constraints, seed, request.progress)


def _result(
    request: LearningRequest,
    product: ProductFeatures,
    learned: TrainingData,
    model: CDAD,
    free: float,
) -> LearningResult:
    """Calibrate a product, and measure how well the network has learned it."""
    held_out = model.form.to_keep(model.space.parts(product.held_out))
    # Scored as they are kept, so that the newest version's calibration comes out the same again.
    parts = model.form.kept(held_out)
    judged, division = judge(model, parts), product.division
    known = explained(parts.latents, judged.restored, learned.clean.latents.mean(0))
    tensors = exemplars_of(model.form, model.network, learned, model.noise) | {
        HELD_OUT: held_out,
        EXPLAINED: np.array(known, np.float32),
        FREE: np.array(free, np.float32),
    }
    images = request.held_out_images(division.held_out, division.groups)
    return LearningResult(tensors, calibrate(judged.scores, images))
