"""The two halves of a network that restores latents, in whichever form."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Denoiser(nn.Module, ABC):
    """Noisy latents to a prediction; time comes as biases."""

    conv_in: nn.Conv2d
    """The first convolution, to whose output the condition is added."""

    @abstractmethod
    def time_biases(self, time: Tensor) -> tuple[Tensor, ...]:
        """Biases (n, width) float32 that `forward` takes, for times (n,) int64."""

    @abstractmethod
    def forward(self, x: Tensor, biases: Sequence[Tensor], added: Tensor) -> Tensor:
        """Predict clean latents or noise (n, c, h, w), as the network was taught.

        Parameters
        ----------
        x
            (n, c, h, w) float32, noisy latents.
        biases
            From `time_biases`, of n times or of one for all.
        added
            (n, width, h, w), the condition, which is added at one place only.
        """


class Condition(nn.Module, ABC):
    """What a part shows to what the denoiser is told of it; time has no say."""

    local: nn.Module
    """From what a part shows to its local encoding (n, width, h, w)."""

    @abstractmethod
    def forward(self, told: Tensor) -> tuple[Tensor, Tensor]:
        """Map what is told, of shape (n, ...), to condition and local encoding (n, width, h, w)."""
