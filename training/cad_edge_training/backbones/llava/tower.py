"""EfficientNet-Lite0 as a vision model of transformers, so that its LLaVA classes can hold it.

A token is a cell of 32 x 32 pixels: what block 10 says of its four positions, side by side, and
mean and deviation of block 4 within it, where faint scratches are still to be seen. Its weights
come with the package of the embedded backbone and are never stored a second time.
"""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from cad_edge_training.backbones.backbone import channel_statistics
from cad_edge_training.backbones.efficientnet_lite0 import DEFAULT_SIZE, EfficientNetLite0, load

MODEL_TYPE = "cad_edge_lite0_vision"
PATCH = 32  # pixels of a cell
EARLY, LATE = 4, 10  # blocks that a token is made of
WIDTH = 4 * 112 + 2 * 40


class Lite0VisionConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """Shape of the tower; only ``image_size`` can differ, and is a multiple of 32."""

    model_type = MODEL_TYPE
    base_config_key = "vision_config"

    image_size: int = DEFAULT_SIZE
    patch_size: int = PATCH
    hidden_size: int = WIDTH


class Lite0VisionModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """Stem and blocks 0..10 of EfficientNet-Lite0, and the tokens of its cells."""

    config_class = Lite0VisionConfig
    base_model_prefix = "tower"
    main_input_name = "pixel_values"
    # A checkpoint does not hold them: `put_in_weights` does.
    _keys_to_ignore_on_load_missing = (r"(^|\.)trunk\._",)

    def __init__(self, config: Lite0VisionConfig) -> None:
        super().__init__(config)
        self.trunk = EfficientNetLite0(config.image_size)
        self.trunk._blocks = self.trunk._blocks[: LATE + 1]
        self.trunk.n_blocks = LATE + 1
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: object = None,
        return_dict: bool = True,
    ) -> BaseModelOutputWithPooling:
        """Turn normalised pixels into tokens.

        Parameters
        ----------
        pixel_values
            (batch, 3, height, width) float32, from `EfficientNetLite0.normalise`.
        output_hidden_states, return_dict
            As transformers passes them; the answer is the same whatever they are.

        Returns
        -------
        BaseModelOutputWithPooling
            ``last_hidden_state`` and ``hidden_states[-1]`` (batch, cells, 528) float32.
        """
        states = self.trunk.run(pixel_values, LATE)
        tokens = cell_tokens(states[EARLY], states[LATE])
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))

    def put_in_weights(self) -> None:
        """Take the weights from the package of the embedded backbone.

        Raises
        ------
        OptionError
            The package is not installed.
        """
        whole = load(self.config.image_size).state_dict()
        self.trunk.load_state_dict({name: whole[name] for name in self.trunk.state_dict()})


def cell_tokens(early: Tensor, late: Tensor) -> Tensor:
    """Tokens of the cells, row by row.

    Parameters
    ----------
    early
        (batch, 40, 4 * rows, 4 * columns) float32, after block 4.
    late
        (batch, 112, 2 * rows, 2 * columns) float32, after block 10.

    Returns
    -------
    Tensor
        (batch, rows * columns, 528): channels of block 10, each with its upper left, upper right,
        lower left and lower right position; means of block 4; deviations of block 4.
    """
    batch, channels, height, width = early.shape
    rows, columns = height // 4, width // 4
    cells = early.reshape(batch, channels, rows, 4, columns, 4).permute(0, 2, 4, 1, 3, 5)
    statistics = channel_statistics(cells.reshape(batch * rows * columns, channels, 4, 4))
    deep = functional.pixel_unshuffle(late, 2).flatten(2).transpose(1, 2)
    return torch.cat((deep, statistics.reshape(batch, rows * columns, 2 * channels)), dim=2)


def register() -> None:
    """Make transformers' Auto classes know the tower; calling it again does nothing."""
    AutoConfig.register(MODEL_TYPE, Lite0VisionConfig, exist_ok=True)
    AutoModel.register(Lite0VisionConfig, Lite0VisionModel, exist_ok=True)
