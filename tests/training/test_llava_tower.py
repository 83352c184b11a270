"""The embedded tower against EfficientNet-Lite0, cell by cell."""

import numpy as np
import pytest
import torch

from cad_edge_training.backbones import DEFAULT_BACKBONE, load_backbone
from cad_edge_training.backbones.llava.tower import (
    MODEL_TYPE,
    Lite0VisionConfig,
    Lite0VisionModel,
    cell_tokens,
    register,
)


@pytest.fixture(scope="module")
def tower():
    model = Lite0VisionModel(Lite0VisionConfig()).eval()
    model.put_in_weights()
    return model


def some_pixels(size: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand((batch, 3, size, size), generator=generator) * 2 - 1


def by_hand(early: np.ndarray, late: np.ndarray) -> np.ndarray:
    """Tokens of one image, written down cell by cell."""
    rows = []
    for row in range(early.shape[1] // 4):
        for column in range(early.shape[2] // 4):
            deep = late[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            cell = early[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(40, 16)
            corners = [deep[:, y, x] for y in (0, 1) for x in (0, 1)]
            deep_part = np.stack(corners, axis=1).reshape(448)
            rows.append(np.concatenate((deep_part, cell.mean(axis=1), cell.std(axis=1))))
    return np.stack(rows)


def test_tokens_are_blocks_4_and_10_of_the_embedded_backbone(tower):
    trunk = load_backbone(DEFAULT_BACKBONE)
    pixels = some_pixels(224)
    with torch.inference_mode():
        answer = tower(pixel_values=pixels)
        states = trunk.run(pixels, 10)
    assert answer.last_hidden_state.shape == (2, 49, 528)
    assert torch.equal(answer.hidden_states[-1], answer.last_hidden_state)
    for index in range(2):
        expected = by_hand(states[4][index].numpy(), states[10][index].numpy())
        np.testing.assert_allclose(answer.last_hidden_state[index], expected, atol=2e-5)


def test_tokens_are_in_the_order_of_rows():
    early, late = torch.zeros(1, 40, 8, 12), torch.zeros(1, 112, 4, 6)
    early[0, 3, 4:8, 8:12] = 7.0  # the cell in row 1, column 2
    late[0, 5, 3, 4] = 2.0  # lower left position of that cell
    tokens = cell_tokens(early, late)[0]
    assert tokens.shape == (6, 528)
    assert tokens[5, 448 + 3] == 7.0 and tokens[5, 5 * 4 + 2] == 2.0
    assert tokens[:5].abs().max() < 1e-5


@pytest.mark.parametrize(("size", "cells"), [(64, 4), (224, 49)])
def test_a_cell_is_32_pixels_wide(size, cells):
    model = Lite0VisionModel(Lite0VisionConfig(image_size=size)).eval()
    model.put_in_weights()
    with torch.inference_mode():
        assert model(some_pixels(size, 1)).last_hidden_state.shape == (1, cells, 528)


def test_tower_holds_no_deeper_block(tower):
    blocks = {name.split(".")[2] for name in tower.state_dict() if "_blocks" in name}
    assert blocks == {str(index) for index in range(11)} and tower.trunk.n_blocks == 11


def test_transformers_knows_the_tower():
    from transformers import AutoConfig, AutoModel

    register()
    register()
    config = AutoConfig.for_model(MODEL_TYPE, image_size=64)
    assert isinstance(AutoModel.from_config(config), Lite0VisionModel)
    assert (config.hidden_size, config.patch_size, config.image_size) == (528, 32, 64)
