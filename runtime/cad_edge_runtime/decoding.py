"""Decoding: a language model's graph in a loop, with the cache of what was said.

The graph takes the embeddings of new tokens and the keys and values of those before; it gives the
logits after the last new token and the keys and values of all. One graph reads the first question
and every single token after it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cad_edge.errors import GraphError
from cad_edge_runtime.chain import Step, Values
from cad_edge_runtime.session import Array

EMBEDDINGS, KEYS, VALUES = "loop/embeddings", "loop/keys", "loop/values"
LOOP = (EMBEDDINGS, KEYS, VALUES)
OUTPUTS = ("logits", "keys", "values")
_FLOAT = {np.dtype(np.float32)}


@dataclass(frozen=True)
class DecoderGraph:
    """A decoder, ready for any number of dialogues."""

    step: Step
    """The graph with what it takes besides; its outputs are `OUTPUTS`."""

    loop: tuple[tuple[str, str], ...]
    """Graph input and which of `LOOP` is bound to it."""

    cache: tuple[int, int, int]
    """(layers, kv_heads, head_width)."""

    positions: int
    """Tokens that a dialogue can have."""


class Decoder:
    """One dialogue: a decoder and its cache."""

    def __init__(self, graph: DecoderGraph, values: Values) -> None:
        self._graph = graph
        self._name = graph.step.session.graph[:12]
        step = graph.step
        self._fixed = {**step.tensors, **{name: values[value] for name, value in step.sources}}
        layers, heads, width = graph.cache
        self._keys: Array = np.zeros((layers, 1, heads, 0, width), np.float32)
        self._values = self._keys
        self.used = 0
        """Tokens in the cache."""

    @property
    def room(self) -> int:
        """Tokens that the dialogue can still have."""
        return self._graph.positions - self.used

    def read(self, embeddings: NDArray[np.float32]) -> int:
        """Add tokens to the dialogue and return the one that follows: the largest logit's.

        Parameters
        ----------
        embeddings
            (t, width) float32 with t at least 1 and at most ``room``.

        Raises
        ------
        GraphError
            The graph refuses its inputs, or answers with other shapes or what is no number. The
            dialogue is as before.
        """
        given = {EMBEDDINGS: embeddings[None], KEYS: self._keys, VALUES: self._values}
        feed = {**self._fixed, **{name: given[source] for name, source in self._graph.loop}}
        logits, keys, values = self._graph.step.session.run(OUTPUTS, feed)
        used = self.used + len(embeddings)
        self._check(logits, keys, values, used)
        token = int(logits[0].argmax())  # the first of equal ones; one that is no number, if any
        if not np.isfinite(logits[0, token]):
            raise GraphError(
                f"graph {self._name} answers with what is no number; export the bundle again"
            )
        self._keys, self._values, self.used = keys, values, used
        return token

    def _check(self, logits: Array, keys: Array, values: Array, used: int) -> None:
        layers, heads, width = self._graph.cache
        wanted = (layers, 1, heads, used, width)
        shapes = keys.shape == values.shape == wanted and logits.shape[:-1] == (1,)
        if not shapes or not logits.size or {one.dtype for one in (logits, keys, values)} != _FLOAT:
            raise GraphError(
                f"graph {self._name} gives logits of shape {logits.shape}, keys of {keys.shape} "
                f"and values of {values.shape}, where the manifest says {wanted} for both; export "
                "the bundle again"
            )
