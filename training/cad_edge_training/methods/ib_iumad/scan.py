"""The selective scan of Mamba (Gu & Dao 2023, Eq. 2): h_t = a_t h_(t-1) + b_t with h_(-1) = 0.

With steps D_t > 0, a_t = exp(D_t A) and b_t = D_t B_t x_t, what is read is y_t = C_t h_t. Training
walks through time. Graphs have no loop: they walk through blocks of time side by side, and double
the span that each block's end covers, ceil(log2 n) times.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional


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
    return functional.pad(values[:-shift], [*rest, shift, 0])


def read_in_turn(logits: Tensor, x: Tensor, enter: Tensor, leave: Tensor, decay: Tensor) -> Tensor:
    """Scan selectively, one step after another.

    Parameters
    ----------
    logits
        (directions, batch, length, channels) float; D is their softplus.
    x
        What is scanned, of the same shape.
    enter, leave
        B and C, (directions, batch, length, states).
    decay
        A, (directions, channels, states), below 0.

    Returns
    -------
    Tensor
        y, of the shape of ``x``.
    """
    step = functional.softplus(logits)
    step, content, enter, leave = (
        one.permute(2, 0, 1, 3) for one in (step, step * x, enter, leave)
    )
    a = torch.exp(step[..., None] * decay[:, None])
    states = sequential_scan(a, content[..., None] * enter[..., None, :])
    return (states * leave[..., None, :]).sum(dim=-1).permute(1, 2, 0, 3)


def read_in_blocks(
    logits: Tensor, x: Tensor, enter: Tensor, leave: Tensor, decay: Tensor
) -> Tensor:
    """Scan selectively, walking within all blocks of about sqrt(L) steps at once.

    With the products p of all a since a block began, h_t = h'_t + p_t h_(end of the block before),
    where h' begins at 0 in every block; the ends are a recurrence of their own, which doubling
    solves. Channels come last and no tensor holds the states of all times, which is what processors
    like: it takes half the time of the plain form.

    Parameters and value are those of `read_in_turn`.
    """
    # Softplus by two functions that processors have at full speed.
    step = torch.relu(logits) + torch.log(1 + torch.exp(-logits.abs()))
    decay = decay.transpose(1, 2)[:, None]
    within: list[Tensor] = []
    products: list[Tensor] = []
    leaves: list[Tensor] = []
    for now, content, comes, goes in zip(
        *(_side_by_side(one) for one in (step, step * x, enter, leave)), strict=True
    ):
        a, b = torch.exp(now[..., None, :] * decay), content[..., None, :] * comes[..., None]
        within.append(a * within[-1] + b if within else b)
        products.append(a * products[-1] if products else a)
        leaves.append(goes[..., None, :])
    before = _later(doubling_scan(products[-1], within[-1]), 1)
    read = [
        (goes @ (state + product * before))[..., 0, :]
        for goes, state, product in zip(leaves, within, products, strict=True)
    ]
    # (steps, blocks, directions, batch, channels) to time in one piece.
    return torch.stack(read).permute(2, 3, 1, 0, 4).flatten(2, 3)[:, :, : x.shape[2]]


def _side_by_side(values: Tensor) -> tuple[Tensor, ...]:
    """Take (d, batch, length, c) apart by step within a block: (blocks, d, batch, c) for each."""
    length = values.shape[2]
    steps = math.ceil(math.sqrt(length))
    blocks = math.ceil(length / steps)
    if missing := blocks * steps - length:
        values = functional.pad(values, (0, 0, 0, missing))
    apart = values.reshape(*values.shape[:2], blocks, steps, values.shape[3])
    return apart.permute(3, 2, 0, 1, 4).unbind(0)
