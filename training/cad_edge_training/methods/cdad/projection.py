"""Updates that leave alone what layers answer to inputs of old products.

With a basis U (d, k) of a layer's old inputs, an update dW (out, d) loses its part dW U U^T: then
dW X_old = 0 for all X_old within U, and the layer answers as before (arXiv 2502.19848, Eq. 5 to 8).

That argument needs the update itself to be projected. The released code projects the gradient and
lets AdamW step, which divides every element by a size of its own: U^T of the step is as large as
the step, where that of the gradient is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.inputs import basis_widths, projected_layers


class Optimiser(Protocol):
    """What updates weights by their gradients, as those of torch do."""

    def step(self) -> object:
        """Update every parameter that has a gradient."""
        ...


@dataclass(frozen=True)
class _Protected:
    """A weight that moves outside of a basis."""

    weight: Tensor
    basis: Tensor
    """(d, k) on the weight's device and of its type."""
    start: Tensor | None
    """The weight before the task, where updates are projected."""


class ProjectedUpdates:
    """Steps of an optimiser while a further task is learned.

    Only weights of layers with a basis move; the gradients of all other parameters (norms, biases,
    embeddings of time, layers whose inputs were never recorded) are dropped before each step, so
    that an optimiser leaves them out, decay included.

    Weight decay of the optimiser must be 0. Where the gradient is projected, W <- (1 - a) W shrinks
    the part of W within U, and answers to old inputs with it. Where the update is, that part stays,
    but what old products have outside of U, up to 1 - gamma of their energy, is still decayed with
    no old part at hand to hold it.

    A step costs two products, (out, d) by (d, k) and (out, k) by (k, d), for every weight.

    Parameters
    ----------
    module
        The network, with the weights it had before the task: the sum of all updates since then is
        what is projected. That is the same as projecting each, and rounding cannot add up.
    bases
        Of the tasks before.
    basis_of
        Names of bases by layer, as `recorded_inputs` was given.
    project
        ``update``, or ``gradient`` as released, to compare.

    Raises
    ------
    ArtifactError
        Bases do not fit the network.
    CadEdgeError
        There is no room: `LayerBases.check_room`.

    Examples
    --------
    >>> layer = nn.Linear(3, 1, bias=False)
    >>> _ = nn.init.zeros_(layer.weight)
    >>> bases = LayerBases({"0": torch.tensor([[1.0], [0.0], [0.0]])})
    >>> updates = ProjectedUpdates(nn.Sequential(layer), bases, {}, "update")
    >>> layer(torch.ones(1, 3)).sum().backward()
    >>> updates.step(torch.optim.Adam([layer.weight], lr=0.5))
    >>> layer.weight.detach().round(decimals=3).tolist()
    [[0.0, -0.5, -0.5]]
    """

    def __init__(
        self,
        module: nn.Module,
        bases: LayerBases,
        basis_of: Mapping[str, str],
        project: Literal["update", "gradient"],
    ) -> None:
        layers = projected_layers(module)
        bases.check(basis_widths(layers, basis_of))
        bases.check_room()
        self._protected = [
            _Protected(
                layer.weight,
                bases.by_name[basis_of.get(name, name)].to(layer.weight),
                layer.weight.detach().clone() if project == "update" else None,
            )
            for name, layer in layers.items()
            if basis_of.get(name, name) in bases.by_name
        ]
        moving = {id(one.weight) for one in self._protected}
        self._frozen = [value for value in module.parameters() if id(value) not in moving]

    @torch.no_grad()
    def step(self, optimiser: Optimiser) -> None:
        """Let an optimiser step by the gradients at hand, and take off what old inputs would feel.

        Parameters
        ----------
        optimiser
            Of any rule, over all parameters of the module or some of them.
        """
        for value in self._frozen:
            value.grad = None
        for one in self._protected:
            if one.start is None and one.weight.grad is not None:
                take_off(one.weight.grad, one.basis)
        optimiser.step()
        for one in self._protected:
            if one.start is not None:
                one.weight.sub_(one.start)
                take_off(one.weight, one.basis)
                one.weight.add_(one.start)


def take_off(change: Tensor, basis: Tensor) -> None:
    """Subtract in place what lies within a basis: D <- D - D U U^T.

    Parameters
    ----------
    change
        (out, d) or (out, channels, k, k) with d = channels * k * k.
    basis
        (d, k), orthonormal.
    """
    matrix = change.flatten(1)
    change.sub_((matrix @ basis @ basis.T).view_as(change))
