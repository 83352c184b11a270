"""The decoder that is written out is transformers' Qwen2, whole, in pieces and behind a prefix."""

import pytest
import torch

from cad_edge.errors import OptionError
from cad_edge_export.language.decoder import LanguageDecoder, runs_of

ROWS, LAYERS = 9, 3


def qwen2(**changes):
    from transformers import Qwen2Config, Qwen2Model

    shape = {
        **{"vocab_size": 32, "hidden_size": 24, "intermediate_size": 40, "pad_token_id": 0},
        **{"num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2},
    }
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = Qwen2Model(Qwen2Config(**shape | changes)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn(parameter.shape)
    return model.requires_grad_(False)


def rows(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, ROWS, 24, generator=torch.Generator().manual_seed(seed))


def written_out(decoder: LanguageDecoder, x: torch.Tensor):
    return decoder(x, [None] * LAYERS, None, decoder.positions(x.shape[1]), None)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1, "head_dim": 10, "hidden_size": 24},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}, "rms_norm_eps": 1e-3},
    ],
    ids=["grouped", "a key for each head", "one key, other width", "other angles"],
)
def test_it_is_transformers_decoder(changes):
    model = qwen2(**changes)
    x = rows()
    expected = model(inputs_embeds=x).last_hidden_state[:, -1]
    got, pairs = written_out(LanguageDecoder(model), x)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)
    assert len(pairs) == LAYERS and pairs[0][0].shape[2] == ROWS


@pytest.mark.parametrize("count", [1, 4, ROWS - 1])
def test_what_was_read_before_need_not_be_read_again(count):
    decoder, x = LanguageDecoder(qwen2()), rows()
    whole, everything = written_out(decoder, x)
    before = rows()[:1, :count]
    _, past = written_out(decoder, before)
    same = torch.cat([before.expand(2, -1, -1), x[:, count:]], dim=1)
    positions = decoder.positions(ROWS - count, before=count)
    got, pairs = decoder(same[:, count:], [None] * LAYERS, None, positions, past)
    expected, _ = written_out(decoder, same)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(got[0], whole[0], atol=1e-5, rtol=0)
    assert all(one[0].shape == other[0].shape for one, other in zip(pairs, everything, strict=True))


@pytest.mark.parametrize(
    ("count", "before", "bounds"),
    [(80, 0, [0, 80]), (770, 0, [0, 192, 385, 577, 770]), (765, 5, [0, 191, 382, 573, 765])],
)
def test_runs_cover_the_rows_and_see_no_further(count, before, bounds):
    runs = runs_of(count, before)
    assert [run.start for run in runs] == bounds[:-1]
    assert [run.stop for run in runs] == bounds[1:]
    assert [run.seen for run in runs] == [before + stop for stop in bounds[1:]]


@pytest.mark.parametrize("before", [0, 3])
def test_attention_in_runs_is_attention_at_once(monkeypatch, before):
    decoder, x = LanguageDecoder(qwen2()), rows()
    past = written_out(decoder, x[:, :before])[1] if before else None
    at_once = decoder.positions(ROWS - before, before)
    assert len(at_once.runs) == 1
    monkeypatch.setattr("cad_edge_export.language.decoder.RUN", 2)
    in_runs = decoder.positions(ROWS - before, before)
    assert len(in_runs.runs) >= 3
    found = [
        decoder(x[:, before:], [None] * LAYERS, None, positions, past)
        for positions in (at_once, in_runs)
    ]
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=0)
    for one, other in zip(found[1][1], found[0][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_weights_are_the_networks_own_until_something_is_merged():
    model = qwen2()
    decoder = LanguageDecoder(model)
    weight = model.get_parameter("layers.0.mlp.up_proj.weight")
    linears = decoder.layers[0].linears
    assert linears["up"].weight.data_ptr() == weight.data_ptr()
    kept = weight.clone()
    change = torch.ones(24, 40)
    decoder.merge([{"up": change}, {}, {}])
    torch.testing.assert_close(linears["up"].weight, weight.T + change)
    torch.testing.assert_close(weight, kept)


def test_half_precision_keeps_norms_attention_and_angles_in_float32():
    model = qwen2()
    expected, _ = written_out(LanguageDecoder(model), rows())
    decoder = LanguageDecoder(model)
    decoder.to_half()
    assert decoder.frequencies.dtype == torch.float32
    got, pairs = written_out(decoder, rows().half())
    assert got.dtype == pairs[0][0].dtype == torch.float16
    torch.testing.assert_close(got.float(), expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_act": "gelu"}, "gelu"),
        ({"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}, "sliding"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "linear"),
    ],
)
def test_what_is_not_written_out_is_refused(changes, said):
    with pytest.raises(OptionError, match=said):
        LanguageDecoder(qwen2(**changes))
