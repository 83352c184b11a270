"""Experts of all tasks as one gated low-rank product beside every linear (METHODS 1.4 a).

    s (lambda sum_t mu_t B_t A_t x + (1 - lambda) sum_e w_e B'_e A'_e x)  =  B (g * (A x))

A and B hold the rows of all experts one below the other, and g repeats the weight of an expert for
each of its ranks. The factors s lambda and s (1 - lambda) are part of B. Linears that read the same
input (q, k and v; gate and up) share one product with A, and it gives what their routers say, too.

Tensors of a task have it as their first axis, so that those of several tasks concatenate. For a
frame every layer takes its own rows of all of them beside the shared ones, so that there is never a
second copy of the whole:

    private_a_<group>   (tasks, layers, linears, rank, inputs)
    private_b_<linear>  (tasks, layers, rank, outputs)
    shared_a_<group>    (layers, linears, experts, rank, inputs)
    shared_b_<linear>   (layers, experts * rank, outputs)
    router_<group>      (layers, linears * experts, inputs)

Where routers are replaced by what they say on average, their place is taken by

    fixed_<group>       (layers, linears, experts)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

GROUPS: Mapping[str, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""Linears of a layer by what they read, with their places in a Qwen2 layer."""


def leaf(site: str) -> str:
    """Short name of a linear: ``q`` of ``self_attn.q_proj``."""
    return site.rpartition(".")[2].removesuffix("_proj")


LINEARS = tuple(leaf(site) for sites in GROUPS.values() for site in sites)


@dataclass(frozen=True)
class Composition:
    """What stands beside every linear."""

    layers: int
    rank: int
    """Of every expert."""
    private: bool
    """Whether tasks have experts of their own."""
    shared: int
    """Shared experts, 0 where there are none; a single one has no router."""

    @property
    def empty(self) -> bool:
        """Whether there is no expert at all."""
        return not (self.private or self.shared)

    @property
    def routed(self) -> int:
        """Experts that a router weighs."""
        return self.shared if self.shared > 1 else 0


@dataclass(frozen=True)
class LayerExperts:
    """Experts beside the linears of one layer, n of them."""

    composition: Composition
    down: Mapping[str, Tensor]
    """By group (linears * n * rank + linears * routed, inputs): A, then the routers."""
    up: Mapping[str, Tensor]
    """B by linear, (n * rank, outputs)."""

    def answers(self, group: str, x: Tensor, mu: Tensor | None) -> list[Tensor]:
        """Answer for each linear of a group as far as B.

        Parameters
        ----------
        group
            Which linears.
        x
            (batch, tokens, inputs), what they read.
        mu
            (batch, tasks) weights of the private experts; None where each weighs one.

        Returns
        -------
        list of Tensor
            One (batch, tokens, n * rank) for each linear; `add` completes it.
        """
        linears, routed = len(GROUPS[group]), self.composition.routed
        found, logits = x @ self.down[group].T, None
        if routed:
            found, logits = found[..., : -linears * routed], found[..., -linears * routed :]
        split = found.reshape(*found.shape[:2], linears, -1, self.composition.rank)
        gate = self._gate(x, mu, logits, linears)
        gated = split if gate is None else split * gate[..., None]
        return [gated[:, :, number].flatten(2) for number in range(linears)]

    def add(self, linear: str, y: Tensor, answer: Tensor) -> Tensor:
        """Add to the answer y (batch, tokens, outputs) of a linear that of its experts."""
        return y + answer @ self.up[linear]

    def _gate(
        self, x: Tensor, mu: Tensor | None, logits: Tensor | None, linears: int
    ) -> Tensor | None:
        """Weights (batch or 1, tokens or 1, linears or 1, n) of experts; None where all are one."""
        parts, composition = [], self.composition
        if composition.private:
            own = torch.ones(1, 1) if mu is None else mu
            parts.append(own.to(x.dtype)[:, None, None])
        if logits is not None:
            # The softmax is taken in float32 whatever the language model runs in.
            several = logits.float().reshape(*x.shape[:2], linears, composition.routed)
            parts.append(several.softmax(3).to(x.dtype))
        elif composition.shared:
            parts.append(torch.ones((1, 1, 1, composition.shared), dtype=x.dtype))
        if mu is None and logits is None:
            return None
        if len(parts) == 1:
            return parts[0]
        shape = (*x.shape[:2], linears)
        return torch.cat([part.expand(*shape, part.shape[3]) for part in parts], dim=3)


def stacked_experts(
    values: Mapping[str, Tensor], composition: Composition
) -> list[LayerExperts | None]:
    """Stack private and shared experts; one entry for each layer, None where there is no expert.

    Parameters
    ----------
    values
        Tensors by the names that this module's head lists.
    composition
        Which of them there are.
    """
    if composition.empty:
        return [None] * composition.layers
    return [
        LayerExperts(
            composition,
            {group: _stacked_down(values, group, layer) for group in GROUPS},
            {linear: _stacked_up(values, linear, layer) for linear in LINEARS},
        )
        for layer in range(composition.layers)
    ]


def _stacked_down(values: Mapping[str, Tensor], group: str, layer: int) -> Tensor:
    """(linears * n * rank + linears * routed, inputs), experts of tasks first."""
    parts = []
    if f"private_a_{group}" in values:
        parts.append(values[f"private_a_{group}"][:, layer].transpose(0, 1))
    if f"shared_a_{group}" in values:
        parts.append(values[f"shared_a_{group}"][layer])
    stack = _joined(parts, 1).flatten(0, 2)
    router = values.get(f"router_{group}")
    return stack if router is None else torch.cat((stack, router[layer]))


def _stacked_up(values: Mapping[str, Tensor], linear: str, layer: int) -> Tensor:
    """(n * rank, outputs), experts of tasks first."""
    parts = []
    if f"private_b_{linear}" in values:
        parts.append(values[f"private_b_{linear}"][:, layer].flatten(0, 1))
    if f"shared_b_{linear}" in values:
        parts.append(values[f"shared_b_{linear}"][layer])
    return _joined(parts, 0)


def _joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=axis)


def merged_shared(values: Mapping[str, Tensor], layers: int) -> Iterator[dict[str, Tensor]]:
    """Give, layer by layer, the changes sum of w A'^T B'^T (inputs, outputs) by short name.

    Parameters
    ----------
    values
        ``shared_a_<group>``, ``shared_b_<linear>`` and ``fixed_<group>``, the weights w.
    layers
        Of the language model.
    """
    for layer in range(layers):
        changes = {}
        for group, sites in GROUPS.items():
            weights = values[f"fixed_{group}"][layer, ..., None, None]
            weighted = values[f"shared_a_{group}"][layer] * weights
            for down, site in zip(weighted.flatten(1, 2), sites, strict=True):
                changes[leaf(site)] = down.T @ values[f"shared_b_{leaf(site)}"][layer]
        yield changes


def merged_changes(values: Mapping[str, Tensor], layers: int) -> list[dict[str, Tensor]]:
    """Return the changes A^T B^T (inputs, outputs) of every layer's linears, by short name.

    Parameters
    ----------
    values
        ``private_a_<group>`` and ``private_b_<linear>`` of one task.
    layers
        Of the language model.
    """
    return [
        {
            leaf(site): values[f"private_a_{group}"][0, layer, number].T
            @ values[f"private_b_{leaf(site)}"][0, layer]
            for group, sites in GROUPS.items()
            for number, site in enumerate(sites)
        }
        for layer in range(layers)
    ]
