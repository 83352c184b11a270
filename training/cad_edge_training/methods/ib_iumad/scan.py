"""The selective scan of Mamba (Gu & Dao 2023, Eq. 2): h_t = a_t h_(t-1) + b_t with h_(-1) = 0.

Three forms of one recurrence. Training walks through time and keeps the states alone; a graph
without loops doubles the span that each state covers, ceil(log2 L) times.
"""

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

    Parameters
    ----------
    a, b
        (..., length) float, of one shape; time comes last.

    Returns
    -------
    Tensor
        (..., length) states h.
    """
    length, shift = b.shape[-1], 1
    while shift < length:
        b = b + a * torch.nn.functional.pad(b[..., :-shift], (shift, 0))
        if 2 * shift < length:
            # What lies before the beginning contributes nothing, whatever it is multiplied by.
            a = a * torch.nn.functional.pad(a[..., :-shift], (shift, 0))
        shift *= 2
    return b
