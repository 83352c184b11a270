"""What the branches of CMPMB say, brought to one scale and added up (ANM, DFS), by hand."""

import math

import numpy as np
import pytest
import torch

from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.model import Evidence, bank_distance, fused_map
from cad_edge_training.methods.cmpmb.normalisation import STEPS, search_shifts

CENTRES = {"anm/patch": torch.tensor(2.0), "anm/text": torch.tensor(0.5)}
DISTANCE, COSINE_DISTANCE = torch.tensor([[2.0, 2 + math.log(3)]]), torch.tensor([[0.5, 1.5]])
SIGMOID_OF_1 = 1 / (1 + math.exp(-1))


def shown(text: torch.Tensor | None) -> Evidence:
    return Evidence(DISTANCE, text, (1, 2))


def test_the_fused_map_is_alpha_times_one_branch_and_the_rest_times_the_other():
    config = Config(slope=1.0, visual_weight=0.75)
    expected = [[0.5, 0.75 * 0.75 + 0.25 * SIGMOID_OF_1]]
    torch.testing.assert_close(
        fused_map(shown(COSINE_DISTANCE), CENTRES, config), torch.tensor(expected)
    )
    alone = fused_map(shown(None), CENTRES, config)
    torch.testing.assert_close(alone, torch.tensor([[0.5, 0.75]]))


@pytest.mark.parametrize(("alpha", "branch"), [(1.0, DISTANCE), (0.0, COSINE_DISTANCE)])
def test_at_its_ends_alpha_leaves_one_branch(alpha, branch):
    config = Config(visual_weight=alpha, normalisation="none")
    assert torch.equal(fused_map(shown(COSINE_DISTANCE), {}, config), branch)


def test_without_anm_the_branches_are_added_as_they_are():
    """And no centre is asked for."""
    config = Config(visual_weight=0.9, normalisation="none")
    expected = 0.9 * DISTANCE + 0.1 * COSINE_DISTANCE
    torch.testing.assert_close(fused_map(shown(COSINE_DISTANCE), {}, config), expected)
    assert torch.equal(fused_map(shown(None), {}, config), DISTANCE)


def test_a_patch_is_as_far_as_its_nearest_neighbour_in_the_bank():
    bank = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    features = torch.tensor([[3.0, 0.0], [0.0, 1.0]]).T.reshape(1, 2, 1, 2)
    epsilon = 1e-3 * 25 / 2  # a thousandth of the mean square of the bank, below the root
    expected = [[math.sqrt(9 + epsilon), math.sqrt(1 + epsilon)]]
    torch.testing.assert_close(bank_distance(features, bank), torch.tensor(expected))


def test_the_search_is_greedy_from_the_medians():
    """Against a search with scikit-learn's average precision over single patches."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    parts = [rng.normal(12, 2, (3, 5, 5)), rng.normal(1, 0.1, (3, 5, 5))]
    defect = (parts[0] > 14) | (parts[1] > 1.15)
    weights = (0.6, 0.4)

    def quality(shifts):
        branches = zip(parts, shifts, weights, strict=True)
        fused = sum(w / (1 + np.exp(-1.5 * (part - b))) for part, b, w in branches)
        return metrics.average_precision_score(defect.ravel(), fused.ravel())

    shifts = [float(np.sort(part, axis=None)[(part.size - 1) // 2]) for part in parts]
    best, before = quality(shifts), -1.0
    while best > before:
        before = best
        for index in range(2):
            moves = [[b + step * (n == index) for n, b in enumerate(shifts)] for step in STEPS]
            shifts = moves[int(np.argmax([quality(move) for move in moves]))]
            best = quality(shifts)
    tensors = [torch.from_numpy(part) for part in parts]
    found = search_shifts(tensors, list(weights), torch.from_numpy(defect).double(), 1.5)
    assert found == pytest.approx(shifts) and best > 0.5
