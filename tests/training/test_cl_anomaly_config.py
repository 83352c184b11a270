import pytest
from pydantic import ValidationError

from cad_edge.errors import OptionError
from cad_edge_training.methods.cl_anomaly.config import Composition, Config, defaults_for
from cad_edge_training.train import TrainingPlan, read_config

BACKBONES = ("llava-small", "llava:some/model", "efficientnet-lite0")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_defaults_survive_being_written(backbone):
    config = Config.model_validate(defaults_for(backbone))
    assert Config.model_validate(config.model_dump(mode="json")) == config


def test_a_pretrained_model_starts_from_the_papers_values():
    config = Config.model_validate(defaults_for("llava:x"))
    assert (config.rank, config.scale, config.shared_experts, config.private_weight) == (
        3,
        2,
        4,
        0.5,
    )
    assert (config.epochs, config.batch, config.learning_rate, config.warm_up) == (1, 8, 1e-5, 0.03)
    assert (config.tau, config.routing, config.key_experts) == (0.1, "soft", 1)
    assert not config.train_projector and config.dropout == 0.05


def test_compositions():
    assert Config().composition == Composition(0.5, 0.5, 4, 3, True)
    assert Config(private_weight=0.75).composition.shared == 0.25
    assert Config(shared_path=False).composition == Composition(1.0, 0.0, 0, 3, False)
    assert Config(private_path=False).composition == Composition(0.0, 1.0, 4, 3, True)
    assert not Config(layer_adaptive=False).composition.merged


def test_what_is_compared_has_the_same_budget():
    """Eight tasks of the paper: 8 private and 4 shared experts of rank 3."""
    eight = Config()
    ranks = 8 * eight.rank + eight.composition.experts * eight.composition.rank
    for variant in ("sequential", "moe"):
        parts = Config(variant=variant).composition
        assert parts.experts * parts.rank == ranks == 36
        assert (parts.private, parts.shared, parts.merged) == (0.0, 1.0, False)


def test_where_and_how_to_learn_is_not_written():
    written = Config(adapter="some/folder", micro_batch=2).model_dump(mode="json")
    assert not written.keys() & {"adapter", "micro_batch", "checkpoint_steps"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"private_path": False, "shared_path": False}, "nothing would be learned"),
        ({"key_experts": 5}, "key_experts=5 is more than the 4"),
        ({"variant": "moe", "layer_adaptive": False}, "variant=moe has no paths to switch off"),
        ({"variant": "sequential", "adapter": "x"}, "there is none; leave it out"),
        ({"private_path": False, "adapter": "x"}, "there is none; leave it out"),
        ({"tau": 0}, "greater than 0"),
        ({"routing": "lucky"}, "routing"),
        ({"blocks": (1,)}, "blocks"),
    ],
)
def test_what_does_not_fit_together_is_refused(values, words):
    with pytest.raises(ValidationError, match=words):
        Config.model_validate(values)


def test_options_come_from_the_command_line():
    options = {"tau": "0.2", "routing": "hard", "question": "Is it broken, yes or no?"}
    config = read_config(TrainingPlan("cl_anomaly", "llava-small", None, options, 0))
    assert (config.tau, config.routing, config.question) == (0.2, "hard", options["question"])
    with pytest.raises(OptionError, match="has no such option"):
        read_config(TrainingPlan("cl_anomaly", "llava-small", None, {"prompts": "true"}, 0))
