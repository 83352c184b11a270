"""The gated product is the loop over experts, layer by layer and linear by linear."""

import numpy as np
import pytest
import torch

from cad_edge_export.fusions.cl_anomaly.packing import pack_private, pack_shared
from cad_edge_export.language.experts import (
    GROUPS,
    LINEARS,
    Composition,
    leaf,
    merged_changes,
    stacked_experts,
)
from cad_edge_training.methods.cl_anomaly.experts import Gate, GatedLinear, Mixture, SiteExperts

LAYERS, RANK, BATCH, TOKENS = 2, 3, 2, 5
INPUTS = {"qkv": 12, "o": 8, "gate_up": 12, "down": 20}
OUTPUTS = {"q": 8, "k": 4, "v": 4, "o": 12, "gate": 20, "up": 20, "down": 12}
SCALE, PRIVATE = 1.7, 0.3
CASES = {
    "several of both": (3, 4),
    "one task": (1, 4),
    "one shared expert": (2, 1),
    "private alone": (3, 0),
    "shared alone": (0, 4),
    "one shared expert alone": (0, 1),
}


def drawn(tasks: int, experts: int, rng) -> tuple[list[dict], dict]:
    """Tensors of tasks and of shared weights, by the names of an artifact."""

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    own: list[dict] = [{} for _ in range(tasks)]
    shared_weights: dict = {}
    for layer in range(LAYERS):
        for group, sites in GROUPS.items():
            for site in sites:
                name, width, out = f"layers.{layer}.{site}", INPUTS[group], OUTPUTS[leaf(site)]
                for task in own:
                    task[f"private/{name}.lora_A"] = normal(RANK, width)
                    task[f"private/{name}.lora_B"] = normal(out, RANK)
                if experts:
                    shared_weights[f"shared/{name}.lora_A"] = normal(experts, RANK, width)
                    shared_weights[f"shared/{name}.lora_B"] = normal(experts, out, RANK)
                if experts > 1:
                    shared_weights[f"router/{name}"] = normal(experts, width)
    return own, shared_weights


def packed(own: list[dict], shared_weights: dict, experts: int) -> dict[str, torch.Tensor]:
    """Everything as an engine binds it."""
    parts = [pack_private(task, LAYERS, SCALE * PRIVATE) for task in own]
    found = (
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if own else {}
    )
    if experts:
        found |= pack_shared(shared_weights, LAYERS, SCALE * (1 - PRIVATE))
    return {name: torch.from_numpy(value) for name, value in found.items()}


def by_loop(own, shared_weights, name: str, x: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
    """What the experts of the training package add to a linear that answers with nothing."""

    def tensor(part, key):
        return torch.from_numpy(part[key]) if key in part else None

    pairs = tuple(
        tuple(tensor(task, f"private/{name}.lora_{part}") for part in "AB") for task in own
    )
    shared = tuple(tensor(shared_weights, f"shared/{name}.lora_{part}") for part in "AB")
    experts = SiteExperts(
        pairs, None if shared[0] is None else shared, tensor(shared_weights, f"router/{name}")
    )
    nothing = torch.nn.Linear(x.shape[2], OUTPUTS[leaf(name)], bias=False)
    torch.nn.init.zeros_(nothing.weight)
    mixture = Mixture(SCALE, PRIVATE, 1 - PRIVATE)
    return GatedLinear(nothing, 0, experts, mixture, Gate(mu)).eval()(x)


@pytest.mark.parametrize(("tasks", "experts"), CASES.values(), ids=CASES)
def test_stack_is_the_loop(tasks, experts, rng):
    own, shared_weights = drawn(tasks, experts, rng)
    values = packed(own, shared_weights, experts)
    mu = torch.from_numpy(rng.dirichlet(np.ones(max(tasks, 1)), BATCH).astype(np.float32))
    layers = stacked_experts(values, Composition(LAYERS, RANK, tasks > 0, experts))
    for number, layer in enumerate(layers):
        for group, sites in GROUPS.items():
            x = torch.from_numpy(rng.normal(size=(BATCH, TOKENS, INPUTS[group])).astype(np.float32))
            answers = layer.answers(group, x, mu if tasks else None)
            for site, answer in zip(sites, answers, strict=True):
                nothing = torch.zeros(BATCH, TOKENS, OUTPUTS[leaf(site)])
                got = layer.add(leaf(site), nothing, answer)
                with torch.inference_mode():
                    expected = by_loop(own, shared_weights, f"layers.{number}.{site}", x, mu)
                scale = float(expected.abs().max())
                torch.testing.assert_close(got, expected, atol=1e-5 * scale, rtol=0)


def test_one_known_expert_is_a_change_of_the_weight(rng):
    own, _ = drawn(1, 0, rng)
    values = packed(own, {}, 0)
    for layer, changes in enumerate(merged_changes(values, LAYERS)):
        assert set(changes) == set(LINEARS)
        for group, sites in GROUPS.items():
            x = torch.from_numpy(rng.normal(size=(1, 1, INPUTS[group])).astype(np.float32))
            for site in sites:
                expected = by_loop(own, {}, f"layers.{layer}.{site}", x, torch.ones(1, 1))
                torch.testing.assert_close(x @ changes[leaf(site)], expected, atol=1e-4, rtol=1e-4)


def test_tensors_of_tasks_concatenate_and_do_not_depend_on_each_other(rng):
    own, shared_weights = drawn(3, 4, rng)
    whole = packed(own, shared_weights, 4)
    second = pack_private(own[1], LAYERS, SCALE * PRIVATE)
    for name, value in second.items():
        assert value.shape[0] == 1 and value.dtype == np.float32
        np.testing.assert_array_equal(whole[name][1:2].numpy(), value)
    assert whole["private_a_qkv"].shape == (3, LAYERS, 3, RANK, INPUTS["qkv"])
    assert whole["shared_b_up"].shape == (LAYERS, 4 * RANK, OUTPUTS["up"])


def test_no_expert_at_all_is_none(rng):
    assert stacked_experts({}, Composition(LAYERS, RANK, False, 0)) == [None, None]
