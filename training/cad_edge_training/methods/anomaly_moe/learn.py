"""Learning a step: its experts, fitted or drawn, frozen for good when the step ends.

Tasks share nothing that a later step could change. What a task needs is in its own artifact: the
experts that its router chooses, or with ``routing_at="image"`` all experts of its step.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from cad_edge.errors import DatasetError
from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.step import DrawnStep
from cad_edge_training.methods.anomaly_moe.fitted_pool import FrozenFeatures
from cad_edge_training.methods.anomaly_moe.fitted_step import FittedStep
from cad_edge_training.methods.anomaly_moe.model import AnomalyMoE, look
from cad_edge_training.methods.anomaly_moe.pool import require_size
from cad_edge_training.methods.anomaly_moe.result import EXPLAINED
from cad_edge_training.patch_features import batches


def learn(request: LearningRequest, config: Config) -> LearningResult:
    """Learn a product on its own, as a step that has no other; errors are those of `learn_step`."""
    return learn_step([request], config)[0]


def learn_step(requests: Sequence[LearningRequest], config: Config) -> list[LearningResult]:
    """Learn products together into one pool of experts; what was learned before is not touched.

    Parameters
    ----------
    requests
        One for each product.
    config
        Options of the method.

    Raises
    ------
    DatasetError
        All good parts of a product look the same to the backbone, or they are too few.
    OptionError
        Drawn experts that are not updated.
    CadEdgeError
        Drawn experts cannot be learned with these options.
    """
    seen, layouts = [], []
    for request in requests:
        one, layout = look_at_all(request, config)
        _require_variety(request, one)
        seen.append(one)
        layouts.append(layout)
    step: DrawnStep | FittedStep
    if config.start == "drawn":
        step = DrawnStep(requests, seen, layouts[0], config)
    else:
        step = FittedStep(requests, seen, layouts[0].grid, config)
    return [one.result(config) for one in step.learn()]


def build_model(backbone: Backbone, config: Config, tensors: Tensors) -> AnomalyMoE:
    """Return the reference model of a learned task.

    Raises
    ------
    ArtifactError
        The backbone takes images of another size than the task learned from.
    """
    require_size(tensors, backbone)
    learned = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    return AnomalyMoE(backbone, config, learned).eval()


def explained_by_whole(tensors: Tensors) -> float:
    """R^2 on held-out parts of the experts for the whole that a product's router chooses.

    The mean of them where there are several; NaN where none was chosen.
    """
    count = len(tensors[f"{EXPLAINED}/global"])
    chosen = [number for number in range(count) if f"scale/global/{number}/shift" in tensors]
    values = tensors[f"{EXPLAINED}/global"][chosen]
    return float(values.mean()) if len(values) else float("nan")


def is_whole(shared_weights: Mapping[str, object]) -> bool:
    """Whether a step is whole; always, since its tasks share nothing outside their artifacts."""
    return True


def look_at_all(request: LearningRequest, config: Config) -> tuple[FrozenFeatures, Layout]:
    """See all images of a product through the frozen backbone; their pixels are not kept."""
    patches, descriptors = [], []
    with torch.no_grad():
        for batch in batches(request.images, request.progress):
            seen, layout = look(request.backbone, config, batch)
            patches.append(seen.patches)
            descriptors.append(seen.descriptors)
    return FrozenFeatures(torch.cat(patches), torch.cat(descriptors)), layout


def _require_variety(request: LearningRequest, seen: FrozenFeatures) -> None:
    if bool((seen.patches == seen.patches[:1]).all()):
        raise DatasetError(
            f"task {request.task}: all {len(seen.patches)} good parts look the same; experts learn "
            "from how good parts differ, so give images of different parts"
        )
