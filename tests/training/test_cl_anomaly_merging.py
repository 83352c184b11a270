import numpy as np
import pytest
import torch

from cad_edge_training.methods.cl_anomaly.key_experts import KeyScores
from cad_edge_training.methods.cl_anomaly.merging import coefficients, merge
from cad_edge_training.methods.cl_anomaly.sites import Site

SITES = (Site("layers.0.mlp.up_proj", 0, 4, 5), Site("layers.1.mlp.up_proj", 1, 4, 5))


def test_key_scores_by_hand():
    scores = KeyScores(layers=2, experts=3)
    # Three tokens: expert 0 wins with .5, expert 2 with .9 and with .4; expert 1 never.
    scores.add(0, torch.tensor([[[0.5, 0.3, 0.2], [0.05, 0.05, 0.9], [0.3, 0.3, 0.4]]]))
    # One more from another linear of the layer, where experts 0 and 1 are equal: the first counts.
    scores.add(0, torch.tensor([[[0.45, 0.45, 0.1]]]))
    scores.add(1, torch.tensor([[0.1, 0.8, 0.1]]))
    expected = [[0.95 / 4, 0.0, 1.3 / 4], [0.0, 0.8, 0.0]]
    assert scores.mean().tolist() == [pytest.approx(row) for row in expected]
    assert scores.keys(1).tolist() == [[2], [1]]
    assert scores.keys(2).tolist() == [[2, 0], [1, 0]]


def test_scores_of_nothing_are_zero():
    scores = KeyScores(layers=1, experts=2)
    assert scores.mean().tolist() == [[0.0, 0.0]] and scores.keys(1).tolist() == [[0]]


def test_coefficients_of_the_paper():
    before, now = np.array([[0], [2]]), np.array([[1], [2]])
    beta = coefficients(before, now, 4)
    assert beta.tolist() == [[0.25, 0.75, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]


def test_a_key_of_both_counts_as_one_of_neither():
    beta = coefficients(np.array([[0, 1]]), np.array([[1, 2]]), 4)
    assert beta.tolist() == [[0.25, 0.5, 0.75, 0.5]]


def shared_weights(rng):
    found = {}
    for site in SITES:
        found[f"shared/{site.name}.lora_A"] = rng.normal(size=(2, 3, 4)).astype(np.float32)
        found[f"shared/{site.name}.lora_B"] = rng.normal(size=(2, 5, 3)).astype(np.float32)
        found[f"router/{site.name}"] = rng.normal(size=(2, 4)).astype(np.float32)
    return found


def test_factors_are_merged_apart_and_routers_not_at_all(rng):
    before, now = shared_weights(rng), shared_weights(rng)
    beta = np.array([[0.75, 0.25], [0.5, 0.75]])
    merged = merge(before, now, beta, SITES)
    assert merged.keys() == now.keys()
    for name, value in merged.items():
        if name.startswith("router/"):
            assert value is now[name]
            continue
        layer = int(name.split(".")[1])
        for expert in range(2):
            share = beta[layer, expert]
            expected = (1 - share) * before[name][expert] + share * now[name][expert]
            np.testing.assert_allclose(value[expert], expected, rtol=1e-6)
        assert value.dtype == np.float32


def test_what_was_there_is_not_changed(rng):
    before, now = shared_weights(rng), shared_weights(rng)
    kept = {name: value.copy() for name, value in before.items()}
    merge(before, now, np.full((2, 2), 0.5), SITES)
    assert all(np.array_equal(kept[name], before[name]) for name in kept)
