"""What the learning of a task starts from, and whether it can start at all."""

from pathlib import Path
from typing import Any

import numpy as np

from cad_edge.errors import DatasetError, OptionError
from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.learned import LearningRequest, require_options, views_in
from cad_edge_training.methods.cl_anomaly.adapters import load_adapter
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.experts import new_private, new_shared
from cad_edge_training.methods.cl_anomaly.sites import sites_of
from cad_edge_training.methods.cl_anomaly.weight_sharing_copy import PREFIX, projector_of

SHARED = ("shared/", "router/", PREFIX)
"""How the names of what tasks share begin."""


def as_llava(backbone: Backbone) -> LlavaBase:
    """Return the backbone as one with a language model, or raise OptionError."""
    if not isinstance(backbone, LlavaBase):
        raise OptionError(
            f"cl_anomaly asks a language model, and {backbone.identity.id} has none; give "
            "--backbone llava-small, or llava:ID with a hub id or a folder"
        )
    return backbone


def check(request: LearningRequest, config: Config) -> None:
    """Refuse what could only fail after a long learning.

    Raises
    ------
    DatasetError
        There is no labelled image with a defect.
    OptionError
        Tasks with shared weights were learned with other options, or the question and the views
        of a sample are more than the language model reads.
    """
    if not len(request.defective):
        raise DatasetError(
            f"{request.task} has no labelled training images with a defect, and cl_anomaly learns "
            "from them when to answer Yes; give `labelled` to the task in the stream file, or take "
            "another method"
        )
    _check_length(as_llava(request.backbone), config.question, views_in(request.images))
    require_options(request, config)


def _check_length(base: LlavaBase, question: str, views: int) -> None:
    """Raise OptionError where a prompt is longer than what the language model was made for."""
    prompt, language = base.prompt(question, views), base.language
    config: Any = language.config
    longest = int(config.max_position_embeddings)
    rows = len(prompt.before) + views * (base.n_patches + 1) + len(prompt.after)
    if rows > longest:
        raise OptionError(
            f"the question with {views} image{'s' if views > 1 else ''} is {rows} tokens long, and "
            f"{base.identity.id} reads at most {longest}; give fewer views or a shorter question"
        )


def starting_values(request: LearningRequest, config: Config, base: LlavaBase) -> Tensors:
    """Everything that is going to be learned, by its name in the artifact.

    A task's own expert is new, or that of ``adapter``; what tasks share is taken over from the task
    before.

    Raises
    ------
    OptionError
        The adapter does not fit.
    """
    sites, parts = sites_of(base.language), config.composition
    rng = np.random.default_rng([request.seed, len(request.earlier)])
    found: Tensors = {}
    if parts.private:
        found |= new_private(sites, config.rank, rng)
        if config.adapter:
            found |= load_adapter(Path(config.adapter), base, config.rank, config.scale)
    if parts.shared:
        found |= new_shared(sites, parts.experts, parts.rank, rng)
    if config.train_projector:
        found |= {name: value.cpu().numpy() for name, value in projector_of(base).items()}
    if request.earlier:
        found |= shared_part(request.earlier[-1].shared_weights)
    return found


def shared_part(tensors: Tensors) -> Tensors:
    """Return what tasks share: experts, routers, and the projector where it is learned."""
    return {name: value for name, value in tensors.items() if name.startswith(SHARED)}
