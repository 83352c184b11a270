"""Drawn experts of AnomalyMoE: sizes as released, hand-worked errors, and the same in ONNX."""

import math

import pytest
import torch
from torch import Tensor

from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn import global_expert, patch_expert
from cad_edge_training.methods.anomaly_moe.drawn.component_expert import (
    component_error,
    draw_component,
    geometry_of,
    pool_components,
)
from cad_edge_training.methods.anomaly_moe.drawn.global_expert import (
    draw_global,
    global_error,
    reconstruct_whole,
)
from cad_edge_training.methods.anomaly_moe.drawn.layout import (
    Layout,
    channel_statistics,
    standardised,
)
from cad_edge_training.methods.anomaly_moe.drawn.losses import global_loss
from cad_edge_training.methods.anomaly_moe.drawn.patch_expert import (
    draw_patch,
    linear_attention,
    patch_error,
    reconstruct_patches,
)

LAYOUT = Layout(channels=(6, 4), grid=(4, 4), pixels=(32, 32), descriptor=5, geometry=3)


def _config(**values: object) -> Config:
    small = {"groups": ("2", "3"), "width": 8, "heads": 2, "depth": 2}
    return Config.model_validate({**small, **values})


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _size(weights: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in weights.values())


def test_sizes_as_released() -> None:
    paper = Layout(channels=(768, 768), grid=(28, 28), pixels=(392, 392), descriptor=768)
    one_block = draw_patch(_config(width=768, heads=12, depth=1), paper, _generator())
    bottleneck = 768 * 3072 * 2 + 3072 + 768
    block = 7_087_872
    assert _size(one_block) == bottleneck + block
    assert round((bottleneck + 8 * block) / 1e6, 1) == 61.4
    last_group = Layout(channels=(768,), grid=(28, 28), pixels=(392, 392), descriptor=768)
    assert round(_size(draw_component(last_group, _generator())) / 1e6, 2) == 0.44
    pair = draw_global(_config(width=768, global_form="pair"), last_group, _generator())
    student = {name: value for name, value in pair.items() if name.startswith("student")}
    assert round(_size(student) / 1e6, 1) == 7.9
    assert round((_size(pair) - _size(student)) / 1e6, 1) == 5.6


def test_the_whole_is_squeezed_and_grown_as_released() -> None:
    assert global_expert._squeezing((392, 392)) == [((9, 9), (7, 7))] * 2
    assert [size for size, _ in global_expert._growing((28, 28))] == [3, 7, 15, 31, 63, 31]


def test_drawn_linears_are_narrow() -> None:
    weight = draw_patch(_config(), LAYOUT, _generator())["block.0.qkv.weight"]
    assert weight.abs().max() <= 0.03
    assert weight.std().item() == pytest.approx(0.01, rel=0.2)


def test_linear_attention_is_its_quadratic_form() -> None:
    queries, keys, values = torch.randn(3, 2, 3, 7, 4, generator=_generator(), dtype=torch.float64)
    phi_q, phi_k = torch.nn.functional.elu(queries) + 1, torch.nn.functional.elu(keys) + 1
    scores = phi_q @ phi_k.transpose(-1, -2)
    quadratic = scores / scores.sum(dim=-1, keepdim=True) @ values
    torch.testing.assert_close(linear_attention(queries, keys, values), quadratic)


def test_without_queries_and_keys_every_token_gets_the_mean_of_the_values() -> None:
    values = torch.randn(1, 2, 5, 3, generator=_generator())
    zero = torch.zeros_like(values)
    mean = values.mean(dim=2, keepdim=True).expand_as(values)
    torch.testing.assert_close(linear_attention(zero, zero, values), mean)


def test_keys_at_the_end_of_elu_are_no_division_by_zero() -> None:
    keys = torch.full((1, 1, 2, 2), -200.0)
    assert linear_attention(keys, keys, keys).isfinite().all()


def test_a_constant_map_through_the_identity_has_no_error() -> None:
    config, layout = _config(), Layout((8, 8), (4, 4), (32, 32), 5)
    weights = draw_patch(config, layout, _generator())
    assert not any(name.startswith(("in.", "out.")) for name in weights)
    value = torch.randn(8, generator=_generator())
    for name in weights:
        if "proj" in name or "mlp.1" in name or "bottleneck.1" in name:
            weights[name] = torch.zeros_like(weights[name])
    weights["bottleneck.1.bias"] = value
    features = torch.cat([value, value])[None, :, None, None].expand(2, 16, 4, 4)
    assert patch_error(weights, features, config, layout).abs().max() < 1e-6
    # Turned by a right angle and by two.
    other = torch.cat([-value, torch.stack([-value[1], value[0], *[torch.tensor(0.0)] * 6])])
    weights["bottleneck.1.bias"] = torch.cat([value[:2], torch.zeros(6)])
    turned = torch.cat([-weights["bottleneck.1.bias"], other[8:]])[None, :, None, None]
    found = patch_error(weights, turned.expand(1, 16, 4, 4), config, layout)
    torch.testing.assert_close(found, torch.full((1, 16), (2 + 1) / 2))


def test_outputs_are_paired_with_groups_in_reverse() -> None:
    outputs = [torch.tensor(float(number)) for number in range(4)]
    found = patch_expert._by_group(outputs, 2)
    assert [[int(one) for one in group] for group in found] == [[3, 2], [1, 0]]
    assert [len(group) for group in patch_expert._by_group(outputs[:1], 3)] == [1, 1, 1]


def test_noise_is_in_training_alone() -> None:
    config = _config()
    weights = draw_patch(config, LAYOUT, _generator())
    features = torch.randn(2, 10, 4, 4, generator=_generator())
    still = [reconstruct_patches(weights, features, config, LAYOUT)[0][0] for _ in range(2)]
    assert torch.equal(still[0], still[1])
    torch.manual_seed(0)
    noisy, _ = reconstruct_patches(weights, features, config, LAYOUT, 0.2)
    assert not torch.equal(noisy[0], still[0])


def test_component_error_by_hand() -> None:
    layout = Layout(channels=(2,), grid=(2, 2), pixels=(16, 16), descriptor=5, geometry=2)
    weights = {
        name: torch.zeros_like(one) for name, one in draw_component(layout, _generator()).items()
    }
    weights["layer.5.bias"] = torch.tensor([1.0, 1.0, 0.5, -1.0])
    pooled = torch.tensor([[[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    found = component_error(weights, pooled, torch.tensor([[1.0, 0.0]]), layout)
    expected = 1 - math.sqrt(0.5) + (0.25 + 1.0) / 2
    assert found[0].tolist() == pytest.approx([expected, 0.0])


def test_an_empty_component_has_no_number_that_is_not_one() -> None:
    features = torch.arange(8.0).reshape(1, 2, 2, 2)
    assignment = torch.tensor([[[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]]])
    pooled, present = pool_components(features, assignment)
    assert pooled[0].tolist() == [[1.0, 5.0], [2.0, 6.0], [0.0, 0.0]]
    assert present[0].tolist() == [1.0, 1.0, 0.0]
    expected = [[0.5, 0.5, 0.25], [0.5, 0.5, 0.75], [0.0, 0.0, 0.0]]
    assert geometry_of(assignment, (2, 2))[0].tolist() == expected
    layout = Layout(channels=(2,), grid=(2, 2), pixels=(16, 16), descriptor=5)
    weights = draw_component(layout, _generator())
    error = component_error(weights, pooled.requires_grad_(), present, layout)
    assert error[0, 2] == 0
    error.sum().backward()  # type: ignore[no-untyped-call]
    assert pooled.grad is not None
    assert pooled.grad.isfinite().all()


def test_global_error_by_hand() -> None:
    config = _config()
    drawn = draw_global(config, LAYOUT, _generator())
    weights = {name: torch.zeros_like(one) for name, one in drawn.items()}
    last = max(name for name in weights if name.startswith("decoder") and name.endswith("bias"))
    weights[last] = torch.arange(10.0)
    features = torch.arange(10.0)[None, :, None, None].repeat(1, 1, 4, 4)
    features[0, 3, 1, 2] += 5
    found = global_error(weights, torch.zeros(1, 3, 32, 32), features)
    expected = torch.zeros(1, 16)
    expected[0, 6] = 2.5
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("form", ["single", "pair"])
@pytest.mark.parametrize(
    ("pixels", "grid"), [((160, 160), (10, 10)), ((64, 96), (4, 6)), ((70, 42), (5, 3))]
)
def test_any_size(pixels: tuple[int, int], grid: tuple[int, int], form: str) -> None:
    layout = Layout(channels=(3,), grid=grid, pixels=pixels, descriptor=5)
    weights = draw_global(_config(global_form=form), layout, _generator())
    images = torch.randn(2, 3, *pixels, generator=_generator())
    found = global_error(weights, images, torch.zeros(2, 3, *grid))
    assert found.shape == (2, math.prod(grid))
    # Every pixel matters, those at the far edge too.
    images[:, :, -1, -1] += 10
    assert not torch.equal(global_error(weights, images, torch.zeros(2, 3, *grid)), found)


def test_a_student_does_not_pull_what_it_follows() -> None:
    pair = draw_global(_config(global_form="pair"), LAYOUT, _generator())
    single = {name: one.clone() for name, one in pair.items() if not name.startswith("student")}
    pixels, features = torch.randn(2, 3, 32, 32), torch.randn(2, 10, 4, 4)
    for weights in (pair, single):
        for one in weights.values():
            one.requires_grad_()
        torch.manual_seed(0)
        loss, _ = global_loss(weights, pixels, features)
        loss.sum().backward()  # type: ignore[no-untyped-call]
    for name, one in single.items():
        assert one.grad is not None and pair[name].grad is not None
        torch.testing.assert_close(pair[name].grad, one.grad)
    assert all(one.grad is not None for one in pair.values())


def test_a_pair_judges_the_difference_of_its_two() -> None:
    weights = draw_global(_config(global_form="pair"), LAYOUT, _generator())
    pixels = torch.randn(1, 3, 32, 32, generator=_generator())
    first, second = (
        global_error(weights, pixels, torch.full((1, 10, 4, 4), value)) for value in (0.0, 9.0)
    )
    assert torch.equal(first, second)
    difference = global_expert.follow(weights, pixels, (4, 4)) - reconstruct_whole(
        weights, pixels, (4, 4)
    )
    torch.testing.assert_close(first, difference.square().mean(dim=1).flatten(1))


def test_channels_are_standardised() -> None:
    features = torch.randn(5, 3, 2, 2, generator=_generator()) * 4 + 7
    features[:, 2] = 1.5
    found = standardised(features, *channel_statistics(features))
    torch.testing.assert_close(found.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert found[:, :2].std(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1.0, 1.0])
    assert torch.equal(found[:, 2], torch.zeros(5, 2, 2))
