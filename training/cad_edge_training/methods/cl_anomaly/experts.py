"""Experts of one linear, and the linear with experts (CL-Anomaly Eq. 2 and 5-7).

    y = W x + s ( lambda sum_t mu_t B_t A_t x  +  (1 - lambda) sum_e w_e(x) B'_e A'_e x )
    w(x) = softmax(G x), token by token and without a top-k

W is frozen. mu belongs to the image and is the same at every site, w to a token and a site. The
reference model adds expert by expert, as the paper writes it; while learning, one product does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.store.artifact import Tensors
from cad_edge_training.methods.cl_anomaly.key_experts import KeyScores
from cad_edge_training.methods.cl_anomaly.sites import Site

DEVIATION = 0.01  # of the start values of A; B starts from zero, so that an expert starts unheard
FIXED = "fixed/"  # and the name of a site: weights of its shared experts that need no router


@dataclass(frozen=True)
class Mixture:
    """How much of each path is added."""

    scale: float
    """s, that of every expert."""
    private: float
    """lambda."""
    shared: float
    """1 - lambda."""
    dropout: float = 0.0
    """Of what experts are given, while learning."""


@dataclass
class Gate:
    """What belongs to the images of a pass and holds at every site; set before the pass."""

    mu: Tensor | None = None
    """(batch, n_private) float32 weights of the private experts."""
    scores: KeyScores | None = None
    """Told the weights of the shared experts while it is there."""


@dataclass(frozen=True)
class SiteExperts:
    """The experts of one site."""

    private: tuple[tuple[Tensor, Tensor], ...] = ()
    """Per task A (rank, inputs) and B (outputs, rank)."""
    shared: tuple[Tensor, Tensor] | None = None
    """A (n_experts, rank, inputs) and B (n_experts, outputs, rank)."""
    router: Tensor | None = None
    """G (n_experts, inputs); None where there is one shared expert, whose weight is 1."""
    fixed: Tensor | None = None
    """(n_experts,) float32 weights of the shared experts in place of what the router says."""


class GatedLinear(nn.Module):
    """A frozen linear with experts beside it."""

    def __init__(
        self, linear: nn.Module, layer: int, experts: SiteExperts, mixture: Mixture, gate: Gate
    ) -> None:
        super().__init__()
        self.linear, self.layer = linear, layer
        self.experts, self.mixture, self.gate = experts, mixture, gate

    def forward(self, x: Tensor) -> Tensor:
        """Answer of the linear and of its experts.

        Parameters
        ----------
        x
            (batch, tokens, inputs) float.

        Returns
        -------
        Tensor
            (batch, tokens, outputs) of the same dtype.
        """
        y: Tensor = self.linear(x)
        parts = self._weighted(x)
        if not parts:
            return y
        if self.training:
            return y + stacked(functional.dropout(x, self.mixture.dropout), parts)
        for weight, a, b in parts:
            y = y + weight * low_rank(x, a, b)
        return y

    def _weighted(self, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Every expert's weight (batch, tokens or 1, 1), A and B; Eq. 5, then Eq. 6 and 7."""
        experts, mixture, found = self.experts, self.mixture, []
        if experts.private:
            assert self.gate.mu is not None
            mu = (mixture.scale * mixture.private * self.gate.mu).to(x.dtype)
            for number, (a, b) in enumerate(experts.private):
                found.append((mu[:, number, None, None], a, b))
        if experts.shared is not None:
            shared = (mixture.scale * mixture.shared * self.router_weights(x)).to(x.dtype)
            for number, (a, b) in enumerate(zip(*experts.shared, strict=True)):
                found.append((shared[..., number, None], a, b))
        return found

    def router_weights(self, x: Tensor) -> Tensor:
        """Weights w (batch, tokens, n_experts) float32, whatever the language model runs in."""
        if self.experts.fixed is not None:
            return self.experts.fixed.expand(*x.shape[:-1], -1)
        if self.experts.router is None:
            return torch.ones(*x.shape[:-1], 1, device=x.device)
        router = self.experts.router.to(x.dtype)
        weights = functional.linear(x, router).float().softmax(dim=-1)
        if self.gate.scores is not None:
            self.gate.scores.add(self.layer, weights.detach())
        return weights


def stacked(x: Tensor, parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Sum of weight * B A x over experts as one product, which learns twice as fast.

    Parameters
    ----------
    x
        (batch, tokens, inputs).
    parts
        Weight (batch, tokens or 1, 1), A (rank, inputs) and B (outputs, rank) of every expert.
    """
    a = torch.cat([down for _, down, _ in parts]).to(x.dtype)
    b = torch.cat([up for _, _, up in parts], dim=1).to(x.dtype)
    weights = [
        weight.expand(len(x), x.shape[1], len(down)).to(x.dtype) for weight, down, _ in parts
    ]
    return functional.linear(torch.cat(weights, dim=-1) * functional.linear(x, a), b)


def low_rank(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """B A x for x (..., inputs), A (rank, inputs) and B (outputs, rank)."""
    return functional.linear(functional.linear(x, a.to(x.dtype)), b.to(x.dtype))


def attach(
    language: nn.Module, sites: Sequence[Site], experts: Mapping[str, SiteExperts], mixture: Mixture
) -> Gate:
    """Put experts beside every site of a language model; return the gate that they all obey.

    The model is changed: give a `weight_sharing_copy`, whose original stays as it is.

    Parameters
    ----------
    language
        transformers' ``Qwen2Model``.
    sites
        Its sites.
    experts
        By the name of a site.
    mixture
        How they are added.
    """
    gate = Gate()
    for site in sites:
        parent = language.get_submodule(site.parent)
        linear = language.get_submodule(site.name)
        gated = GatedLinear(linear, site.layer, experts[site.name], mixture, gate)
        setattr(parent, site.leaf, gated.train(linear.training))
    return gate


def experts_at(
    sites: Sequence[Site],
    private: Sequence[Mapping[str, Tensor]],
    shared_weights: Mapping[str, Tensor],
) -> dict[str, SiteExperts]:
    """Sort tensors by site.

    Parameters
    ----------
    sites
        Where experts sit.
    private
        Per task ``private/<site>.lora_A`` and ``.lora_B``; tasks without are left out.
    shared_weights
        ``shared/<site>.lora_A``, ``.lora_B``, ``router/<site>`` and ``fixed/<site>``, as far as
        they are there.
    """
    found = {}
    for site in sites:
        own = f"private/{site.name}"
        shared = f"shared/{site.name}"
        found[site.name] = SiteExperts(
            tuple(
                (task[f"{own}.lora_A"], task[f"{own}.lora_B"])
                for task in private
                if f"{own}.lora_A" in task
            ),
            (shared_weights[f"{shared}.lora_A"], shared_weights[f"{shared}.lora_B"])
            if f"{shared}.lora_A" in shared_weights
            else None,
            shared_weights.get(f"router/{site.name}"),
            shared_weights.get(f"{FIXED}{site.name}"),
        )
    return found


def new_private(sites: Sequence[Site], rank: int, rng: np.random.Generator) -> Tensors:
    """Start values ``private/<site>.lora_A`` (rank, in) ~ N(0, 0.01^2), ``.lora_B`` zero."""
    found: Tensors = {}
    for site in sites:
        found[f"private/{site.name}.lora_A"] = _normal(rng, (rank, site.inputs))
        found[f"private/{site.name}.lora_B"] = np.zeros((site.outputs, rank), np.float32)
    return found


def new_shared(sites: Sequence[Site], experts: int, rank: int, rng: np.random.Generator) -> Tensors:
    """Start values ``shared/<site>.lora_A`` (experts, rank, in), ``.lora_B``, ``router/<site>``.

    A router starts as torch starts a linear, uniform within 1 / sqrt(in); a single expert has none.
    """
    found: Tensors = {}
    for site in sites:
        found[f"shared/{site.name}.lora_A"] = _normal(rng, (experts, rank, site.inputs))
        found[f"shared/{site.name}.lora_B"] = np.zeros((experts, site.outputs, rank), np.float32)
        if experts > 1:
            bound = site.inputs**-0.5
            router = rng.uniform(-bound, bound, (experts, site.inputs))
            found[f"router/{site.name}"] = router.astype(np.float32)
    return found


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.normal(0.0, DEVIATION, shape).astype(np.float32)
