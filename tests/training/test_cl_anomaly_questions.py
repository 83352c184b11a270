"""The loss of an answer, beside transformers' own causal loss over the same rows."""

import pytest
import torch

from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.questions import END, TrainingQuestions
from tests.training.tiny_llava import save_tiny_llava

IGNORED = -100  # label of a position that transformers does not judge


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("models") / "tiny-llava")))


def test_the_loss_is_the_mean_over_both_tokens_of_the_answer(base):
    lines = TrainingQuestions.of(base, Config(), views=1)
    image = torch.randn(2, base.n_patches + 1, base.width, generator=torch.Generator())
    with torch.no_grad():
        loss = lines.loss(base, lines.questions[0], image, torch.tensor([1, 0]))
        expected = 0.0
        for word, tokens in zip(("Yes", "No"), image, strict=True):
            answer = base.tokenizer.encode(word + END, add_special_tokens=False).ids
            assert len(answer) == 2
            prompt = lines.questions[0].around(tokens[None])
            rows = torch.cat((prompt, base.embed(torch.tensor([answer]))), dim=1)
            labels = torch.full((1, rows.shape[1]), IGNORED)
            labels[0, -2:] = torch.tensor(answer)
            hidden = base.language(inputs_embeds=rows, use_cache=False).last_hidden_state
            expected += base.model.loss_function(
                base.head(hidden), labels, vocab_size=base.head.out_features
            )
    torch.testing.assert_close(loss, torch.as_tensor(expected))
