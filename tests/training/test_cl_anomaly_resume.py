import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.methods.cl_anomaly.batches import Batches, rate_at
from cad_edge_training.methods.cl_anomaly.checkpoints import POINTER, Checkpoints, fingerprint_of
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.learn import learn
from tests.training.cl_anomaly_samples import QUICK, a_request, quiet
from tests.training.tiny_llava import save_tiny_llava

CONFIG = Config(**QUICK | {"checkpoint_steps": 2, "train_projector": True, "paraphrases": True})
STEPS = 11  # two epochs of 11 good and, repeated, 11 defective images by fours


class Pulled(Exception):
    """The plug."""


class Plug:
    """Progress that is cut off when a step is done, and remembers the steps."""

    def __init__(self, at=None):
        self.at, self.steps = at, []

    def __call__(self, what, done, total):
        if what != "experts":
            return
        assert total == STEPS
        self.steps.append(done)
        if done == self.at:
            raise Pulled


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("models") / "tiny-llava")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base):
    return learn(a_request(base, tmp_path_factory.mktemp("whole")), CONFIG)


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def interrupted(base, workspace, at):
    with pytest.raises(Pulled):
        learn(a_request(base, workspace, progress=Plug(at)), CONFIG)


@pytest.mark.parametrize("at", [1, 5, 10])
def test_an_interrupted_learning_ends_with_the_same_bits(tmp_path, base, whole, at):
    interrupted(base, tmp_path, at)
    # Somebody else's random numbers in between make no difference.
    torch.rand(at)
    plug = Plug()
    resumed = learn(a_request(base, tmp_path, progress=plug), CONFIG)
    assert plug.steps == list(range(1 + at // 2 * 2, STEPS + 1))
    assert same(resumed.tensors, whole.tensors)
    assert same(resumed.shared_weights, whole.shared_weights)
    assert resumed.calibration == whole.calibration


def test_torchs_own_random_numbers_are_left_alone(tmp_path, base):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        expected = torch.rand(3)
        torch.manual_seed(4)
        learn(a_request(base, tmp_path), CONFIG.model_copy(update={"epochs": 1}))
        assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_of_another_learning_is_not_gone_on_from(tmp_path, base):
    interrupted(base, tmp_path, 5)
    plug = Plug(at=1)
    with pytest.raises(Pulled):
        learn(a_request(base, tmp_path, progress=plug), CONFIG.model_copy(update={"dropout": 0.1}))
    with pytest.raises(Pulled):
        learn(a_request(base, tmp_path, task="blue", progress=plug), CONFIG)
    assert plug.steps == [1, 1]


def test_one_checkpoint_is_kept_and_none_that_is_broken(tmp_path):
    store = Checkpoints(tmp_path / "work", "0" * 64)
    assert store.load() is None
    for step in (2, 4):
        store.save(step, {"weight": torch.full((3,), float(step))})
    names = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert names == [POINTER, "step-00000004.safetensors"]
    assert json.loads((tmp_path / "work" / POINTER).read_text())["step"] == 4
    step, tensors = store.load()
    assert step == 4 and tensors["weight"].tolist() == [4.0] * 3
    assert Checkpoints(tmp_path / "work", "1" * 64).load() is None
    path = tmp_path / "work" / "step-00000004.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert store.load() is None
    (tmp_path / "work" / POINTER).write_text("{")
    assert store.load() is None


def test_a_fingerprint_tells_starts_apart():
    start = {"a": np.zeros(2, np.float32)}
    prints = {
        fingerprint_of({"seed": 0}, start),
        fingerprint_of({"seed": 1}, start),
        fingerprint_of({"seed": 0}, {"b": start["a"]}),
        fingerprint_of({"seed": 0}, {"a": start["a"] + 1}),
        fingerprint_of({"seed": 0}, {"a": start["a"].astype(np.float64)}),
    }
    assert len(prints) == 5


def drawn(batches):
    return np.concatenate([batches.at(step).numpy() for step in range(batches.steps)])


def test_every_image_comes_once_in_an_epoch():
    labels = np.repeat([0, 1], [9, 3])
    batches = Batches(labels, batch=4, epochs=2, balanced=False, seeds=(1, 0))
    assert batches.steps == 6
    order = drawn(batches)
    assert sorted(order[:12]) == sorted(order[12:]) == list(range(12))
    assert not np.array_equal(order[:12], order[12:])
    again = Batches(labels, batch=4, epochs=2, balanced=False, seeds=(1, 0))
    other = Batches(labels, batch=4, epochs=2, balanced=False, seeds=(1, 1))
    assert np.array_equal(drawn(again), order) and not np.array_equal(drawn(other), order)


def test_balanced_batches_repeat_the_smaller_class():
    labels = np.repeat([0, 1], [9, 3])
    batches = Batches(labels, batch=6, epochs=1, balanced=True, seeds=(1, 0))
    assert batches.steps == 3
    order = drawn(batches)
    assert [labels[batch].sum() for batch in np.split(order, 3)] == [3, 3, 3]
    assert sorted(order[labels[order] == 0]) == list(range(9))
    assert np.bincount(order)[9:].tolist() == [3, 3, 3]


def test_the_rate_rises_and_falls():
    rates = [rate_at(step, 100, 2.0, 0.03) for step in range(100)]
    assert rates[:3] == pytest.approx([2 / 3, 4 / 3, 2.0])
    assert rates[3] == 2.0 and rates[99] < 0.001
    assert all(later < earlier for earlier, later in pairwise(rates[3:]))
    assert rate_at(0, 1, 2.0, 0.0) == 2.0 and rate_at(0, 1, 2.0, 0.03) == 2.0


def test_progress_counts_up(tmp_path, base):
    learn(a_request(base, tmp_path, progress=quiet), CONFIG.model_copy(update={"epochs": 1}))
