import numpy as np
import pytest
import torch
from torch import nn

from cad_edge.errors import OptionError
from cad_edge_training.methods.cl_anomaly.experts import (
    Gate,
    GatedLinear,
    Mixture,
    SiteExperts,
    attach,
    experts_at,
    new_private,
    new_shared,
)
from cad_edge_training.methods.cl_anomaly.key_experts import KeyScores
from cad_edge_training.methods.cl_anomaly.sites import layers_in, sites_of

PAPER = Mixture(scale=2.0, private=0.5, shared=0.5)


def language(device="cpu", **sizes):
    from transformers import Qwen2Config, Qwen2Model

    tiny = {
        "vocab_size": 40,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        return Qwen2Model(Qwen2Config(**tiny | sizes)).eval()


def count(tensors, start):
    return sum(value.size for name, value in tensors.items() if name.startswith(start))


def as_tensors(arrays):
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def test_sizes_at_seven_billion_are_those_of_the_paper():
    seven = language(
        "meta",
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
    )
    sites = sites_of(seven)
    assert len(sites) == 196 and layers_in(sites) == 28
    # The rest is linear in the sizes, so that no array of that size has to be made.
    assert sum(3 * (site.inputs + site.outputs) for site in sites) == 7_569_408
    assert sum(4 * site.inputs for site in sites) == 4_530_176


def test_counts_follow_from_the_sites():
    sites, rng = sites_of(language()), np.random.default_rng(0)
    per_rank = sum(site.inputs + site.outputs for site in sites)
    assert count(new_private(sites, 3, rng), "private/") == 3 * per_rank
    shared = new_shared(sites, 4, 3, rng)
    assert count(shared, "shared/") == 4 * 3 * per_rank
    assert count(shared, "router/") == 4 * sum(site.inputs for site in sites)


def test_another_language_model_is_refused():
    with pytest.raises(OptionError, match="language model of the Qwen2 family"):
        sites_of(nn.Sequential(nn.Linear(2, 2)))


def test_start_values():
    sites, rng = sites_of(language()), np.random.default_rng(0)
    found = new_private(sites, 3, rng) | new_shared(sites, 4, 3, rng)
    for name, value in found.items():
        assert value.dtype == np.float32
        if name.endswith("lora_B"):
            assert not value.any()
        elif name.endswith("lora_A"):
            assert 0.007 < value.std() < 0.013
    assert not any(name.startswith("router/") for name in new_shared(sites, 1, 36, rng))


def by_hand() -> SiteExperts:
    """Two tasks and two shared experts of rank 1 on a linear from 2 to 2."""

    def column(*values):
        return torch.tensor([[value] for value in values])

    return SiteExperts(
        private=(
            (torch.tensor([[1.0, 0.0]]), column(1.0, 2.0)),
            (torch.tensor([[0.0, 1.0]]), column(3.0, 0.0)),
        ),
        shared=(
            torch.tensor([[[1.0, 1.0]], [[2.0, 0.0]]]),
            torch.stack([column(1.0, 0.0), column(0.0, 1.0)]),
        ),
        router=torch.tensor([[0.0, 0.0], [float(np.log(3.0)), 0.0]]),
    )


def test_the_formula_by_hand():
    linear = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
    gate = Gate(mu=torch.tensor([[0.75, 0.25]]))
    gated = GatedLinear(linear, 0, by_hand(), PAPER, gate).eval()
    # x = (1, 2): private 0.75 (1, 2) + 0.25 (6, 0) = (2.25, 1.5); the router says 1/4 and 3/4, so
    # shared 1/4 (3, 0) + 3/4 (0, 2) = (0.75, 1.5); y = x + 2 (0.5 private + 0.5 shared).
    with torch.no_grad():
        y = gated(torch.tensor([[[1.0, 2.0]]]))
    torch.testing.assert_close(y, torch.tensor([[[1 + 3.0, 2 + 3.0]]]))


def test_the_gate_holds_for_all_tokens_of_an_image_and_the_router_for_one():
    gate = Gate(mu=torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    gated = GatedLinear(nn.Linear(2, 2), 0, by_hand(), PAPER, gate)
    x = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = gated(x)
        for image in range(2):
            gate.mu = torch.eye(2)[image : image + 1]
            for token in range(5):
                alone = gated(x[image : image + 1, token : token + 1])
                torch.testing.assert_close(together[image, token], alone[0, 0])


def test_a_single_shared_expert_has_the_weight_one():
    a, b = by_hand().shared
    experts = SiteExperts(shared=(a[:1], b[:1]))
    linear = nn.Linear(2, 2)
    gated = GatedLinear(linear, 0, experts, Mixture(2.0, 0.0, 1.0), Gate())
    x = torch.tensor([[[1.0, 2.0]]])
    with torch.no_grad():
        torch.testing.assert_close(gated(x), linear(x) + 2 * torch.tensor([[[3.0, 0.0]]]))


def test_the_stack_that_learns_is_the_loop():
    gate = Gate(mu=torch.tensor([[0.75, 0.25], [0.1, 0.9]]))
    gated = GatedLinear(nn.Linear(2, 2), 0, by_hand(), PAPER, gate)
    x = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(gated.train()(x), gated.eval()(x))


def test_dropout_is_for_learning_alone():
    mixture = Mixture(2.0, 0.5, 0.5, dropout=0.5)
    gated = GatedLinear(nn.Linear(2, 2), 0, by_hand(), mixture, Gate(torch.ones(1, 2)))
    x = torch.ones(1, 40, 2)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        assert gated.train()(x).unique(dim=1).shape[1] > 1
        assert gated.eval()(x).unique(dim=1).shape[1] == 1


def test_the_gate_hears_of_every_token_of_a_site():
    scores = KeyScores(layers=3, experts=2)
    gated = GatedLinear(nn.Linear(2, 2), 1, by_hand(), PAPER, Gate(torch.ones(1, 2), scores))
    gated(torch.tensor([[[1.0, 2.0], [1.0, 5.0]]]))
    assert scores.tokens.tolist() == [0, 2, 0]
    torch.testing.assert_close(scores.mean()[1], torch.tensor([0.0, 0.75], dtype=torch.float64))


def test_new_experts_are_unheard_and_attached_everywhere():
    model, rows = language(), torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    sites, rng = sites_of(model), np.random.default_rng(0)
    with torch.no_grad():
        before = model(inputs_embeds=rows, use_cache=False).last_hidden_state
        tensors = as_tensors(new_private(sites, 3, rng) | new_shared(sites, 4, 3, rng))
        gate = attach(model, sites, experts_at(sites, [tensors], tensors), PAPER)
        gate.mu = torch.ones(2, 1)
        after = model(inputs_embeds=rows, use_cache=False).last_hidden_state
    torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert sum(isinstance(module, GatedLinear) for module in model.modules()) == len(sites)
