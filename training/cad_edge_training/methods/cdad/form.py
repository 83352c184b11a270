"""Forms of CDAD: what a step looks at, by which network parts are restored, how that is scored.

The loop of learning, the protection of older products, model versions and their calibration are the
same for all; what they need of a form is below.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import Images, Progress
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.network import DiffusionNetwork
from cad_edge_training.methods.cdad.parts import Parts, Space, joined
from cad_edge_training.methods.cdad.start import Start
from cad_edge_training.patch_features import batches

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Reconstructor:
    """What all products share, as frames need it."""

    space: Space
    network: DiffusionNetwork
    noise: Tensor
    """(1, c, h, w) float32."""


class Form(Protocol):
    """One form, for a backbone and options that fit it."""

    @property
    def backbone(self) -> Backbone:
        """What looks, frozen."""
        ...

    @property
    def config(self) -> Config:
        """Options."""
        ...

    def look(self, image: Tensor) -> Parts:
        """See image (n, height, width, 3) uint8 by frozen networks alone."""
        ...

    def start(self, before: Tensors | None, looked: Parts, seed: int) -> Start:
        """Begin a step: with the network of the steps before it, or with a first one.

        Parameters
        ----------
        before
            Shared weights of the step before.
        looked
            Good parts of the step's products, from `look`.
        seed
            Of what is drawn.
        """
        ...

    def restorer(self, shared_weights: Tensors) -> Reconstructor:
        """Read what a step left behind."""
        ...

    def verdict(self, latents: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Score (n,) and map (n, height, width) of latents (n, c, h, w) and what they should be."""
        ...

    def to_keep(self, parts: Parts) -> Array:
        """Tensor (n, ...) of an artifact for parts that are kept, as the network is shown them."""
        ...

    def kept(self, tensor: Array) -> Parts:
        """Undo `to_keep`."""
        ...


def look_at_all(form: Form, images: Images, progress: Progress) -> Parts:
    """See images (n, height, width, 3) uint8, some at a time."""
    with torch.no_grad():
        return joined([form.look(batch) for batch in batches(images, progress)])
