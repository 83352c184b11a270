"""Options of CDAD: defaults, and those that are refused before anything is looked at."""

import pytest
from pydantic import ValidationError

from cad_edge.errors import OptionError
from cad_edge_training.methods.cdad.config import Config, defaults_for
from cad_edge_training.methods.cdad.network import sampling_of
from cad_edge_training.train import TrainingPlan, read_config
from tests.training.small_products import LITE0


def read(**more: str) -> Config:
    return read_config(TrainingPlan("cdad", LITE0, 64, more, 0))


def test_what_is_not_said_of_a_backbone_is_the_papers():
    config = Config(blocks=(3, 7, 11))
    assert (config.prediction, config.start, config.first_time) == ("epsilon", "999", 901)
    assert (config.steps, config.batch, config.learning_rate) == (10, 12, 1e-5)
    assert (config.weight_decay, config.energy, config.sampled) == (0.01, 0.999, 0.1)
    assert [step.time for step in sampling_of(config).steps] == [*range(901, 0, -100)]


def test_the_embedded_backbone_has_two_steps_of_matched_noise():
    config = read()
    assert config.blocks == (4, 7, 10)
    assert (config.prediction, config.start) == ("x0", "matched")
    assert [step.time for step in sampling_of(config).steps] == [501, 1]


def test_a_transformer_hides_the_papers_window():
    assert Config.model_validate(defaults_for("dinov2:x")).window == 7


def test_blocks_have_to_be_said():
    with pytest.raises(ValidationError):
        Config()
    with pytest.raises(ValidationError):
        Config(blocks=())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": "0"}, r"--set steps: .* greater than or equal to 1"),
        ({"steps": "1001"}, r"--set steps: .* less than or equal to 1000"),
        ({"steps": "502"}, r"502 steps do not fit before point 501 .*; give fewer steps"),
        ({"first_time": "1000"}, r"--set first_time: .* less than or equal to 999"),
        ({"first_time": "1"}, r"2 steps do not fit before point 1 "),
        ({"window": "4"}, r"window 4 has no cell in the middle; give an odd one"),
        ({"heads": "3"}, r"heads 3 do not divide width 64"),
        ({"width": "8"}, r"--set width: .* greater than or equal to 16"),
        ({"width": "20"}, r"--set width: .* multiple of 8"),
        ({"inner_width": "8"}, r"--set inner_width: .* greater than or equal to 16"),
        ({"energy": "0"}, r"--set energy: .* greater than 0"),
        ({"energy": "1.01"}, r"--set energy: .* less than or equal to 1"),
        ({"sampled": "0"}, r"--set sampled: "),
        ({"perturbed": "1.5"}, r"--set perturbed: "),
        ({"shrinkage": "0"}, r"--set shrinkage: "),
        ({"updates": "0"}, r"--set updates: "),
        ({"learning_rate": "-1"}, r"--set learning_rate: "),
        ({"blocks": "7,4"}, r"blocks must be ascending"),
        ({"projection": "both"}, r"--set projection: .*'update', 'gradient' or 'none'"),
        ({"bases": "svd"}, r"--set bases: .*'gram', 'isvd' or 'paper_isvd'"),
        ({"initial": "pretrained"}, r"--set initial: .*'small' or 'drawn'"),
        ({"gamma": "0.9"}, r"cdad has no such option; it has .*energy"),
    ],
)
def test_values_that_are_refused(options, said):
    with pytest.raises(OptionError, match=said) as refused:
        read(**options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "options", [{"steps": "501"}, {"steps": "999", "first_time": "999"}, {"energy": "1"}]
)
def test_values_at_the_edge_are_allowed(options):
    config = read(**options)
    assert len(sampling_of(config).steps) == config.steps
