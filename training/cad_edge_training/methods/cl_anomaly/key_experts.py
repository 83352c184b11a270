"""Key experts: which shared experts of a layer a task relies on (CL-Anomaly Eq. 8).

    S[l, e] = mean over tokens of  w_e 1[e = argmax w],   E*[l] = the K largest of S[l]

Tokens are those of all passes while a task is learned, pooled over the seven linears of a layer.
The released code counts the argmax alone and looks once a minute; METHODS 1.2 says why this is
accumulated always and with the weight.
"""

import torch
from torch import Tensor


class KeyScores:
    """Sums behind S, float64 so that their order does not matter to the result."""

    def __init__(self, layers: int, experts: int) -> None:
        self.sums = torch.zeros(layers, experts, dtype=torch.float64)
        self.tokens = torch.zeros(layers, dtype=torch.int64)

    def add(self, layer: int, weights: Tensor) -> None:
        """Count tokens of one linear.

        Parameters
        ----------
        layer
            Which layer it is in.
        weights
            (..., n_experts) softmax weights w; of equal ones the first expert counts.
        """
        flat = weights.reshape(-1, weights.shape[-1])
        best, chosen = flat.max(dim=1)
        sums = torch.zeros(flat.shape[1], dtype=flat.dtype, device=flat.device)
        self.sums[layer] += sums.index_add(0, chosen, best).cpu().double()
        self.tokens[layer] += flat.shape[0]

    def mean(self) -> Tensor:
        """S (layers, n_experts) float64; zero in a layer that has seen no token."""
        return self.sums / self.tokens.clamp_min(1)[:, None]

    def keys(self, count: int) -> Tensor:
        """E* (layers, count) int64, the highest score first; of equal ones the first expert."""
        order = self.mean().argsort(dim=1, descending=True, stable=True)
        return order[:, :count].clone()
