"""Stable Diffusion's U-Net, told of a part at one place and always of the same text."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from cad_edge_training.methods.cdad.denoiser import Denoiser


class TextUNet(Denoiser):
    """A ``UNet2DConditionModel`` with one text for all parts.

    Parameters
    ----------
    model
        Of diffusers; its layers are called as it would call them.
    text
        (tokens, width) float32.
    """

    text: Tensor

    def __init__(self, model: Any, text: Tensor) -> None:  # noqa: ANN401 - diffusers is untyped
        super().__init__()
        self.model = model
        self.register_buffer("text", text)

    @property
    def conv_in(self) -> nn.Conv2d:  # type: ignore[override]
        """The first convolution."""
        found: nn.Conv2d = self.model.conv_in
        return found

    def time_biases(self, time: Tensor) -> tuple[Tensor, ...]:
        """Embedding (n, width) float32 of times (n,) int64, of which each block makes a bias."""
        code = self.model.time_proj(time).to(self.text.dtype)
        return (self.model.time_embedding(code),)

    def forward(self, x: Tensor, biases: Sequence[Tensor], added: Tensor) -> Tensor:
        """Predict the noise; see `Denoiser.forward`.

        The condition is added to the output of the first convolution before that is kept as a
        skip, and nowhere else.
        """
        model, (time,) = self.model, biases
        time = time.expand(len(x), -1)
        text = {"encoder_hidden_states": self.text.expand(len(x), -1, -1)}
        x = model.conv_in(x) + added
        skips: tuple[Tensor, ...] = (x,)
        for block in model.down_blocks:
            x, states = block(x, temb=time, **(text if _attends(block) else {}))
            skips += states
        x = model.mid_block(x, time, **text)
        for block in model.up_blocks:
            count = len(block.resnets)
            own, skips = skips[-count:], skips[:-count]
            told = text if _attends(block) else {}
            x = block(x, temb=time, res_hidden_states_tuple=own, **told)
        out: Tensor = model.conv_out(model.conv_act(model.conv_norm_out(x)))
        return out


def _attends(block: Any) -> bool:  # noqa: ANN401 - diffusers is untyped
    return bool(getattr(block, "has_cross_attention", False))
