"""What projected layers see: their inputs as columns, which their weights multiply as matrices.

A layer answers W X. With the weight as a matrix (out, d) and inputs as columns (d, m), a change dW
leaves the answers for old columns alone where dW X_old = 0 (One-for-More, arXiv 2502.19848, Eq. 5
to 8). For a convolution columns are the patches under its kernel (im2col), d = channels * k * k.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.errors import OptionError

ProjectedLayer: TypeAlias = nn.Conv2d | nn.Linear


class InputConsumer(Protocol):
    """What input columns are given to."""

    def add(self, name: str, columns: Tensor) -> None:
        """Take columns (d, m) of one call of a layer of the basis ``name``."""
        ...


def projected_layers(module: nn.Module, frozen: Collection[str] = ()) -> dict[str, ProjectedLayer]:
    """Layers whose updates can be projected: convolutions of one group, and linears.

    Parameters
    ----------
    module
        A network. Of weights that it uses without calling their layer, as
        `nn.MultiheadAttention` does, no inputs are seen.
    frozen
        Names that are left out wherever they are part of a path, with all that lies below:
        ``time_embedding`` leaves out ``unet.time_embedding.linear_1``.

    Returns
    -------
    dict
        Layers by their path in the module.
    """
    left_out = set(frozen)
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        if not left_out & set(name.split("."))
    }


def basis_widths(
    layers: Mapping[str, ProjectedLayer], basis_of: Mapping[str, str]
) -> dict[str, int]:
    """Length d of the input columns by name of a basis.

    Parameters
    ----------
    layers
        As `projected_layers` gives them.
    basis_of
        Names of bases by layer, for layers that share one, as the queries and keys of attention
        do, which see one input. A layer that is not named has a basis of its own name.

    Raises
    ------
    OptionError
        Layers of one basis take in columns of different lengths.
    """
    widths: dict[str, int] = {}
    for name, layer in layers.items():
        basis, width = basis_of.get(name, name), layer.weight[0].numel()
        if widths.setdefault(basis, width) != width:
            raise OptionError(
                f"layer {name} takes in {width} numbers and cannot share the basis {basis} of "
                f"layers that take in {widths[basis]}; give it a basis of its own"
            )
    return widths


@contextmanager
def recorded_inputs(
    layers: Mapping[str, ProjectedLayer], consumer: InputConsumer, basis_of: Mapping[str, str]
) -> Iterator[None]:
    """Give a consumer the input columns of every call, as long as the context lasts.

    Layers that share a basis are all listened to: their inputs need not be the same, and where
    they are, each counts as often as the others and no direction changes.

    Parameters
    ----------
    layers, basis_of
        As `basis_widths` takes them; OptionError as there.
    consumer
        Its `add` is called before the layer is, with columns (d, m) of the input's type that
        have no gradient.

    Examples
    --------
    >>> from cad_edge_training.methods.cdad.second_moments import SecondMoments
    >>> network, moments = nn.Sequential(nn.Linear(2, 3)), SecondMoments()
    >>> with recorded_inputs(projected_layers(network), moments, {}):
    ...     _ = network(torch.tensor([[1.0, 2.0]]))
    >>> moments.by_basis["0"].tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    basis_widths(layers, basis_of)
    handles = [
        layer.register_forward_pre_hook(
            _Recorder(basis_of.get(name, name), consumer), with_kwargs=True
        )
        for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Recorder:
    """The hook of one layer."""

    def __init__(self, basis: str, consumer: InputConsumer) -> None:
        self._basis, self._consumer = basis, consumer

    @torch.no_grad()
    def __call__(self, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        inputs = given[0] if given else named["input"]
        self._consumer.add(self._basis, input_columns(layer, inputs.detach()))


def input_columns(layer: ProjectedLayer, inputs: Tensor) -> Tensor:
    """Bring a layer's input into columns.

    Parameters
    ----------
    layer
        One of `projected_layers`.
    inputs
        (batch, channels, height, width) or without batch for a convolution, (..., d) for a linear.

    Returns
    -------
    Tensor
        (d, m) of the input's type with one column for every place that the layer answers at, image
        after image: ``weight.flatten(1) @ columns`` is its answer without the bias.
    """
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, layer.in_features).T
    images = inputs if inputs.dim() == 4 else inputs[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = functional.pad(images, _padding(layer), mode=mode)
    patches = functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
    return patches.transpose(0, 1).flatten(1)


def _padding(layer: nn.Conv2d) -> list[int]:
    """Cells (left, right, top, bottom) that a convolution adds."""
    sides: list[int] = []
    for axis in (1, 0):
        if layer.padding == "valid":
            sides += [0, 0]
        elif layer.padding == "same":
            both = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            sides += [both // 2, both - both // 2]
        else:
            sides += [int(layer.padding[axis])] * 2
    return sides
