"""The selective scan of Mamba (Gu & Dao 2023, Eq. 2): h_t = a_t h_(t-1) + b_t with h_(-1) = 0.

Three forms of one recurrence, time first in all. Training walks through time and keeps the states
alone. Graphs have no loop: they walk through blocks of time side by side, and double the span that
each block's end covers, ceil(log2 n) times.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def sequential_scan(a: Tensor, b: Tensor) -> Tensor:
    """States of the recurrence, one after another.

    Parameters
    ----------
    a, b
        (length, ...) float, of one shape; time comes first.

    Returns
    -------
    Tensor
        (length, ...) states h.
    """
    states: Tensor = _Scan.apply(a, b)  # type: ignore[no-untyped-call]
    return states


class _Scan(torch.autograd.Function):
    """The recurrence with its adjoint, g_t = dL/dh_t + a_(t+1) g_(t+1): dL/db = g, dL/da = g h."""

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, b: Tensor) -> Tensor:
        states = torch.empty_like(b)
        states[0] = b[0]
        for step in range(1, len(b)):
            torch.addcmul(b[step], a[step], states[step - 1], out=states[step])
        ctx.save_for_backward(a, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, states = ctx.saved_tensors  # type: ignore[attr-defined]
        adjoint = torch.empty_like(grad)
        adjoint[-1] = grad[-1]
        for step in range(len(grad) - 2, -1, -1):
            torch.addcmul(grad[step], a[step + 1], adjoint[step + 1], out=adjoint[step])
        of_a = torch.zeros_like(a)
        torch.mul(adjoint[1:], states[:-1], out=of_a[1:])
        return of_a, adjoint


def doubling_scan(a: Tensor, b: Tensor) -> Tensor:
    """States of the recurrence without a loop over time (Hillis & Steele 1986).

    After stage k a state has taken up the 2^k steps before it:
    (a, b)_t <- (a_t a_(t-s), a_t b_(t-s) + b_t) with s = 2^k.

    Parameters and value are those of `sequential_scan`.
    """
    length, shift = len(b), 1
    while shift < length:
        b = b + a * _later(b, shift)
        if 2 * shift < length:
            # What lies before the beginning contributes nothing, whatever it is multiplied by.
            a = a * _later(a, shift)
        shift *= 2
    return b


def _later(values: Tensor, shift: int) -> Tensor:
    """Values moved towards later times, zeros before them."""
    rest = [0, 0] * (values.dim() - 1)
    return torch.nn.functional.pad(values[:-shift], [*rest, shift, 0])


def blocked_scan(a: Tensor, b: Tensor) -> Tensor:
    """States of the recurrence, walked within blocks of about sqrt(L) steps, all at once.

    With the products p of all a since a block began, h_t = h'_t + p_t h_(end of the block before),
    where h' begins at 0 in every block; the ends are a recurrence of their own, which doubling
    solves. Every value is touched five times or so, where doubling touches each in every stage.

    Parameters and value are those of `sequential_scan`.
    """
    length = len(b)
    steps = math.ceil(math.sqrt(length))
    blocks = math.ceil(length / steps)
    rest = [0, 0] * (b.dim() - 1)
    missing = blocks * steps - length
    a, b = (torch.nn.functional.pad(one, [*rest, 0, missing]) if missing else one for one in (a, b))
    factors, inputs = (one.reshape(blocks, steps, *one.shape[1:]).unbind(1) for one in (a, b))
    within, products = [inputs[0]], [factors[0]]
    for factor, value in zip(factors[1:], inputs[1:], strict=True):
        within.append(factor * within[-1] + value)
        products.append(factor * products[-1])
    before = _later(doubling_scan(products[-1], within[-1]), 1)
    states = [state + product * before for state, product in zip(within, products, strict=True)]
    return torch.stack(states, dim=1).flatten(0, 1)[:length]
