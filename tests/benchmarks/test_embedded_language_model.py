"""Three steps of pretraining: deterministic, and what is saved can be read."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cad_edge_studies.embedded_language_model import __main__ as command
from cad_edge_studies.embedded_language_model import training_loop
from cad_edge_studies.embedded_language_model.evaluation import evaluate, yes_minus_no
from cad_edge_studies.embedded_language_model.model import defective_cells
from cad_edge_studies.embedded_language_model.packing import (
    TokenisedConversation,
    pack,
    write_conversation,
)
from cad_edge_studies.embedded_language_model.questions import DECISION, QuestionAnswer
from cad_edge_studies.embedded_language_model.scenes import scene_pair
from cad_edge_studies.embedded_language_model.training_loop import PretrainingPlan, train
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.llava.chat import ChatTexts, token_ids

THREE = PretrainingPlan(seed=3, steps=3, pairs=1)


def silent(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_loop, "FIRST_PAIRS", 2)
        return train(THREE, silent)[0]


def test_equal_seeds_train_equal_weights(trained, monkeypatch):
    monkeypatch.setattr(training_loop, "FIRST_PAIRS", 2)
    again, steps = train(THREE, silent)
    assert steps == 3
    state = again.state_dict()
    for name, value in trained.state_dict().items():
        assert torch.equal(state[name], value), name


def test_the_tower_stays_as_it_was(trained):
    trunk = load_backbone("efficientnet-lite0").state_dict()
    for name, value in trained.tower.trunk.state_dict().items():
        assert torch.equal(value, trunk[name])


def test_conversations_in_one_sequence_are_computed_as_if_alone(trained):
    texts = ChatTexts()
    before = token_ids(trained.tokenizer, texts.before_image)
    turns = [
        QuestionAnswer("Is there a defect?", "Yes"),
        QuestionAnswer("Where is it?", "It is in the centre."),
    ]
    parts = [write_conversation(trained.tokenizer, texts, [turn]) for turn in turns]
    tokens = trained.tower_tokens(scene_pair(1, 0)[:1])
    with torch.inference_mode():
        together = trained(tokens, pack(before, 50, [parts]))[0]
        for part, start in zip(parts, (53, 53 + len(parts[0].ids)), strict=True):
            alone = trained(tokens, pack(before, 50, [[part]]))[0, 53:]
            torch.testing.assert_close(
                together[start : start + len(part.ids)], alone, atol=1e-4, rtol=1e-4
            )


def test_what_is_saved_answers_as_what_was_trained(trained, tmp_path):
    """Half precision and the folded standardisation change a logit by a hundredth at most."""
    scenes = scene_pair(2, 0)
    texts = ChatTexts()
    before = token_ids(trained.tokenizer, texts.before_image)
    asked = write_conversation(trained.tokenizer, texts, [QuestionAnswer(DECISION, "")])
    packed = pack(before, 50, [[TokenisedConversation(asked.ids[:-1], asked.is_answer[:-1])]] * 2)
    with torch.inference_mode():
        logits = trained.head(trained(trained.tower_tokens(scenes), packed)[:, -1])
    trained.save(tmp_path / "saved")
    base = load_backbone(f"llava:{tmp_path / 'saved'}")
    yes, no = (list(ids) for ids in (base.answers.yes, base.answers.no))
    expected = logits[:, yes].logsumexp(1) - logits[:, no].logsumexp(1)
    difference = yes_minus_no(base, np.stack([scene.image for scene in scenes]))
    torch.testing.assert_close(difference, expected, atol=1e-2, rtol=1e-2)


def test_time_is_a_cap(monkeypatch):
    monkeypatch.setattr(training_loop, "FIRST_PAIRS", 2)
    _, steps = train(PretrainingPlan(steps=3, minutes=0.0), silent)
    assert steps == 0


def test_the_command_writes_a_folder_without_the_tower(tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop, "FIRST_PAIRS", 2)
    monkeypatch.setattr(command, "EVALUATED", 4)
    folder = tmp_path / "small"
    result = CliRunner().invoke(command.main, ["--out", str(folder), "--steps", "1"])
    assert result.exit_code == 0, result.output
    assert "1 steps in" in result.output and "AUROC" in result.output
    note = json.loads((folder / "training.json").read_text())
    assert note["plan"]["seed"] == 0 and note["steps"] == 1 and "torch" in note["versions"]
    assert 0 <= note["held_out_accuracy"] <= 1
    assert sorted(note["described"]) == ["colour", "kind", "part", "place"]
    assert (folder / "model.safetensors").stat().st_size < 15_000_000


def test_learning_rate_warms_up_and_falls():
    plan = PretrainingPlan(steps=100, rate=1.0, warm_up=10)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9]
    assert rates[9:] == sorted(rates[9:], reverse=True) and rates[-1] < 0.03


def test_defective_cells_are_those_of_the_mask():
    good, bad = scene_pair(1, 0)
    mask = np.zeros_like(bad.mask)
    mask[40:60, 70:90] = True  # row 1, column 2 of seven
    cells = defective_cells([good, bad._replace(mask=mask)], 7)
    assert cells.shape == (2, 49) and cells[0].sum() == 0
    assert cells[1].nonzero().flatten().tolist() == [1 * 7 + 2]


def test_the_model_of_the_package_sees_defects_it_was_not_trained_on():
    result = evaluate(load_backbone("llava-small"), seed=77, pairs=24)
    assert result.auroc > 0.75 and result.accuracy > 0.65
