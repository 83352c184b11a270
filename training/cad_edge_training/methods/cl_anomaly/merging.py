"""Merging shared experts after a task (CL-Anomaly Eq. 9-10).

    theta_t = (1 - beta) theta_{t-1} + beta phi_t,   layer by layer and expert by expert

phi_t is what the task made of theta_{t-1}. beta is 3/4 for an expert that is a key to this task
alone, 1/4 if it was a key to the task before alone, and otherwise 1/2. A and B are merged apart.
Routers are not merged, as in the released code, although the paper does not say so: the new ones
are kept, which is the likeliest source of drift in the shared path.
"""

from collections.abc import Sequence

import numpy as np

from cad_edge.store.artifact import Tensors
from cad_edge_training.methods.cl_anomaly.sites import Site

OF_THIS_TASK, OF_THE_LAST_TASK, OF_BOTH_OR_NONE = 0.75, 0.25, 0.5

Coefficients = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Keys = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def coefficients(before: Keys, now: Keys, experts: int) -> Coefficients:
    """Beta of every expert of every layer.

    Parameters
    ----------
    before, now
        (layers, n_keys) int64 key experts of the last task and of this one.
    experts
        Number of shared experts.

    Returns
    -------
    ndarray
        (layers, experts) float64.
    """
    was, is_now = _marked(before, experts), _marked(now, experts)
    beta = np.full(was.shape, OF_BOTH_OR_NONE)
    beta[is_now & ~was] = OF_THIS_TASK
    beta[was & ~is_now] = OF_THE_LAST_TASK
    return beta


def merge(before: Tensors, now: Tensors, beta: Coefficients, sites: Sequence[Site]) -> Tensors:
    """Merge shared experts; everything else comes from ``now``.

    Parameters
    ----------
    before
        Shared weights as of the last task: ``shared/<site>.lora_A`` (experts, rank, inputs) and
        ``.lora_B`` (experts, outputs, rank) float32.
    now
        The same after learning this task, before merging; routers and whatever else there is.
    beta
        (layers, experts), from `coefficients`.
    sites
        Where experts sit.
    """
    merged = dict(now)
    for site in sites:
        weight = beta[site.layer][:, None, None]
        for part in ("lora_A", "lora_B"):
            name = f"shared/{site.name}.{part}"
            mixed = (1 - weight) * before[name] + weight * now[name]
            merged[name] = mixed.astype(np.float32)
    return merged


def _marked(keys: Keys, experts: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    marked = np.zeros((len(keys), experts), dtype=bool)
    np.put_along_axis(marked, keys, True, axis=1)
    return marked
