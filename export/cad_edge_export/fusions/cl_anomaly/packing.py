"""Experts of an artifact as the tensors that an engine binds; `experts` lists their shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cad_edge.store.artifact import Tensors
from cad_edge_export.language.experts import GROUPS, leaf
from cad_edge_training.methods.cl_anomaly.experts import FIXED

Array = np.ndarray[Any, np.dtype[Any]]


def pack_private(learned: Tensors, layers: int, factor: float) -> Tensors:
    """Pack the experts of one task.

    Parameters
    ----------
    learned
        Holds ``private/<site>.lora_A`` (rank, inputs) and ``.lora_B`` (outputs, rank).
    layers
        Of the language model.
    factor
        What the answer of an expert is times, s lambda.
    """
    packed: Tensors = {}
    for group, sites in GROUPS.items():
        packed[f"private_a_{group}"] = _gathered(learned, "private/{}.lora_A", sites, layers)[None]
        for site in sites:
            b = _gathered(learned, "private/{}.lora_B", (site,), layers)[:, 0]
            packed[f"private_b_{leaf(site)}"] = b.swapaxes(1, 2)[None] * np.float32(factor)
    return _contiguous(packed)


def pack_shared(learned: Tensors, layers: int, factor: float) -> Tensors:
    """Pack the shared experts and their routers.

    Parameters
    ----------
    learned
        Holds ``shared/<site>.lora_A`` (experts, rank, inputs), ``.lora_B`` (experts, outputs, rank)
        and ``router/<site>`` (experts, inputs), the latter unless there is one expert; or, where
        they need no router, ``fixed/<site>`` (experts,).
    layers
        Of the language model.
    factor
        What the answer of an expert is times, s (1 - lambda).
    """
    packed: Tensors = {}
    for group, sites in GROUPS.items():
        packed[f"shared_a_{group}"] = _gathered(learned, "shared/{}.lora_A", sites, layers)
        for site in sites:
            b = _gathered(learned, "shared/{}.lora_B", (site,), layers)[:, 0].swapaxes(2, 3)
            packed[f"shared_b_{leaf(site)}"] = b.reshape(layers, -1, b.shape[3]) * np.float32(
                factor
            )
        if f"{FIXED}layers.0.{sites[0]}" in learned:
            packed[f"fixed_{group}"] = _gathered(learned, FIXED + "{}", sites, layers)
        elif f"router/layers.0.{sites[0]}" in learned:
            router = _gathered(learned, "router/{}", sites, layers)
            packed[f"router_{group}"] = router.reshape(layers, -1, router.shape[3])
    return _contiguous(packed)


def _gathered(learned: Tensors, name: str, sites: Sequence[str], layers: int) -> Array:
    """(layers, linears, ...) of the tensors ``name`` at ``sites``."""
    return np.stack(
        [
            np.stack([learned[name.format(f"layers.{layer}.{site}")] for site in sites])
            for layer in range(layers)
        ]
    )


def _contiguous(tensors: Tensors) -> Tensors:
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}
