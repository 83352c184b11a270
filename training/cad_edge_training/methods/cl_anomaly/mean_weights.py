"""What routers say on average, by which the shared experts can do without them (METHODS 1.4)."""

from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_training.methods.cl_anomaly.experts import FIXED, GatedLinear
from cad_edge_training.methods.cl_anomaly.held_out import Tokens, score_each
from cad_edge_training.methods.cl_anomaly.model import CLAnomaly


def mean_weights(model: CLAnomaly, tokens: Tokens) -> Tensors:
    """Average the weights of the shared experts at every site.

    Parameters
    ----------
    model
        With shared experts.
    tokens
        (n, n_tokens, vision_width) float16 tower tokens of the images to average over.

    Returns
    -------
    dict
        ``fixed/<site>`` (n_experts,) float32: the mean over all rows that the linear reads, those
        of the prompt among them, of all images.
    """
    found: dict[str, _Mean] = {}
    handles = []
    for name, module in model.base.language.named_modules():
        if isinstance(module, GatedLinear):
            found[name] = _Mean()
            handles.append(module.register_forward_pre_hook(partial(_listen, found[name])))
    try:
        score_each(model, tokens)
    finally:
        for handle in handles:
            handle.remove()
    return {f"{FIXED}{name}": mean.value() for name, mean in found.items()}


class _Mean:
    """A running mean over rows, in float64."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._rows = 0

    def add(self, weights: Tensor) -> None:
        """Take in weights (batch, rows, n_experts)."""
        sums = weights.double().sum(dim=(0, 1))
        self._total = sums if self._total is None else self._total + sums
        self._rows += weights.shape[0] * weights.shape[1]

    def value(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(n_experts,) float32."""
        assert self._total is not None
        return (self._total / self._rows).cpu().numpy().astype(np.float32)


def _listen(mean: _Mean, module: GatedLinear, inputs: tuple[Tensor, ...]) -> None:
    mean.add(module.router_weights(inputs[0]))
