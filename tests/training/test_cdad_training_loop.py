"""The training loop of CDAD: what it shows the network, and what it moves."""

import pytest
import torch

from cad_edge.errors import CadEdgeError
from cad_edge_training.methods.cdad import training_loop
from cad_edge_training.methods.cdad.network import Network, sampling_of
from cad_edge_training.methods.cdad.training_loop import Constraints, jittered, train
from tests.training.small_cdad import drawn_data, options
from tests.training.small_products import quiet

CHANNELS, GRID = 8, (4, 4)


def drawn_network(config=None) -> Network:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Network(config or options(), CHANNELS, GRID)


def weights(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in one.items() if not torch.equal(value, other[name])}


def learned(seed: int, **more: object) -> dict[str, torch.Tensor]:
    config = options(**more)
    network = drawn_network(config)
    train(network, drawn_data(), config, Constraints(), seed, quiet)
    return weights(network)


def test_equal_seeds_give_equal_weights_and_leave_torch_alone():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = learned(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    assert differing(first, learned(5)) == set()
    assert differing(first, learned(6))


def test_every_parameter_of_a_first_step_moves():
    # A bias of the keys adds the same to all logits of a query, which softmax takes off.
    moved = differing(weights(drawn_network()), learned(0, weight_decay=1e-30))
    still = set(dict(drawn_network().named_parameters())) - moved
    assert all(name.endswith("key.bias") for name in still), still


def test_progress_counts_updates():
    told = []
    train(drawn_network(), drawn_data(), options(), Constraints(), 0, lambda *one: told.append(one))
    assert told == [("updates", number, 5) for number in range(1, 6)]


def test_parameters_without_gradient_stay():
    network = drawn_network()
    layers = {id(layer.weight) for layer in network.projected().values()}
    for one in network.parameters():
        one.requires_grad_(id(one) in layers)
    before = weights(network)
    train(network, drawn_data(), options(weight_decay=0.5), Constraints(), 0, quiet)
    moved = differing(before, weights(network))
    assert moved == {f"{name}.weight" for name in network.projected()}
    assert not any("time" in name for name in moved)


def test_the_network_learns_to_restore():
    config = options(updates=60, learning_rate=3e-3)
    network, data, noise = drawn_network(config), drawn_data(), torch.zeros(1, CHANNELS, *GRID)
    network.eval()

    def lost() -> float:
        with torch.no_grad():
            restored = network(data.clean, noise, sampling_of(config))
        return float((restored - data.clean.latents).square().mean())

    before = lost()
    train(network, data, config, Constraints(), 0, quiet)
    assert lost() < 0.6 * before
    assert not network.training


@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
def test_a_loss_that_is_no_number_is_refused(prediction):
    data = drawn_data()
    data.clean.latents[2, 0, 1, 1] = float("nan")
    with pytest.raises(CadEdgeError, match=r"at update \d of 5 the loss is not a number; try a"):
        train(drawn_network(), data, options(prediction=prediction), Constraints(), 0, quiet)
    with pytest.raises(CadEdgeError, match="try a learning_rate below 1e"):
        wild = options(prediction=prediction, learning_rate=1e30)
        train(drawn_network(), drawn_data(), wild, Constraints(), 0, quiet)


class TestConditions:
    def test_with_a_share_of_0_all_are_clean(self):
        data, index = drawn_data(), torch.arange(6).repeat(5)
        assert torch.equal(data.conditions(index, 0.0), data.clean.latents[index])

    def test_with_a_share_of_1_none_is_and_every_copy_is_shown(self):
        data, index = drawn_data(images=2), torch.arange(2).repeat(20)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            shown = data.conditions(index, 1.0)
        found = [
            [int(torch.equal(one, copy)) for copy in data.defective.latents[place]]
            for one, place in zip(shown, index.tolist(), strict=True)
        ]
        assert all(sum(one) == 1 for one in found), "of the same image"
        assert {one.index(1) for one in found} == {0, 1}

    def test_a_share_between_is_kept(self):
        data, index = drawn_data(), torch.arange(6).repeat(200)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            shown = data.conditions(index, 0.25)
        # Defects are around 10, clean latents around 0.
        assert (shown.mean((1, 2, 3)) > 5).float().mean() == pytest.approx(0.25, abs=0.04)


@pytest.fixture
def seen(monkeypatch) -> dict[str, list[torch.Tensor]]:
    """What the losses and AMN are given while a network learns 4 updates of 3 of 6 images."""
    found = {"clean": [], "conditions": [], "local": [], "noised": []}
    network, config = drawn_network(), options(updates=4, batch=3, perturbed=1)
    diffusion, condition = training_loop.diffusion_loss, training_loop.condition_loss

    def spy(predicted, clean, noise, prediction):
        found["clean"].append(clean)
        return diffusion(predicted, clean, noise, prediction)

    def spy_condition(added, local):
        found["local"].append(local.detach())
        return condition(added, local)

    monkeypatch.setattr(training_loop, "diffusion_loss", spy)
    monkeypatch.setattr(training_loop, "condition_loss", spy_condition)
    network.amn.register_forward_pre_hook(lambda _, given: found["conditions"].append(given[0]))
    train(network, drawn_data(), config, Constraints(), 0, quiet)
    return found


def test_the_target_is_clean_and_the_condition_is_not(seen):
    assert all(float(one.mean()) < 1 for one in seen["clean"])
    assert all(float(one.mean()) > 9 for one in seen["conditions"])
    assert [tuple(one.shape) for one in seen["local"]] == [(3, 16, 4, 4)] * 4


def test_every_image_is_shown_once_in_a_pass(seen):
    known = drawn_data().clean.latents
    for first, second in zip(seen["clean"][::2], seen["clean"][1::2], strict=True):
        shown = torch.cat([first, second])
        places = [int((known - one).flatten(1).abs().sum(1).argmin()) for one in shown]
        assert sorted(places) == list(range(6))


def test_fewer_images_than_a_batch_are_one_batch():
    told = []
    network = drawn_network()
    network.amn.register_forward_pre_hook(lambda _, given: told.append(len(given[0])))
    train(network, drawn_data(images=3), options(), Constraints(), 0, quiet)
    assert told == [3] * 5


def test_jitter_has_a_deviation_of_its_own_for_each_part() -> None:
    latents = torch.full((400, 4, 8, 8), 3.0)
    added = jittered(latents, 2.0) - latents
    deviations = added.flatten(1).std(1)
    # Even on [0, 2]: mean 1, deviation 2 / sqrt(12).
    assert deviations.mean().item() == pytest.approx(1, abs=0.1)
    assert deviations.std().item() == pytest.approx(2 / 12**0.5, abs=0.06)
    assert added.mean().item() == pytest.approx(0, abs=0.02)


def test_jitter_reaches_the_condition_alone() -> None:
    config, told, targets = options(jitter=5.0, perturbed=0.0), [], []
    network, data = drawn_network(config), drawn_data()
    network.amn.register_forward_pre_hook(lambda _, given: told.append(given[0]))
    network.amn.local.register_forward_pre_hook(lambda _, given: targets.append(given[0]))
    train(network, data, config, Constraints(), 0, quiet)
    assert all(seen.std() > 1.5 * data.clean.latents.std() for seen in told)
    clean = {tuple(one.flatten().tolist()) for one in data.clean.latents}
    assert all(tuple(one.flatten().tolist()) in clean for seen in targets[1::2] for one in seen)
