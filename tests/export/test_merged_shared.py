"""Shared experts merged by what their routers say on average: an approximation that is measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cad_edge.errors import CertificateError, OptionError
from cad_edge_export.certificate import run_chain
from cad_edge_export.fusions import load_fusion
from cad_edge_export.merging import merged, require, weigh
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.plan import ExportPlan
from cad_edge_training.backbones.llava import LlavaBase, load_llava
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.experts import (
    Gate,
    GatedLinear,
    Mixture,
    SiteExperts,
    low_rank,
)
from cad_edge_training.methods.cl_anomaly.held_out import tokens_to_keep
from cad_edge_training.methods.cl_anomaly.learn import build_model, held_out_scores, without_router
from cad_edge_training.methods.cl_anomaly.model import TOKENS
from tests.export.expert_samples import (
    difference,
    every_image,
    frames,
    reference,
    run_modules,
    sharing_tasks,
)
from tests.training.tiny_llava import save_tiny_llava

NATURAL = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> LlavaBase:
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("base") / "tiny")))


def task_of(base: LlavaBase, options: dict, count: int = 3):
    """The middle task of tasks with shared weights, with held-out parts and a witness."""
    task = sharing_tasks(base, Config.model_validate(options), count)[count // 2]
    images = frames(base)
    task.tensors[TOKENS] = tokens_to_keep(base, images[:5])
    task.witness.update(image=images[4:8], score=reference(base, task, images[4:8]))
    return task


def without(base: LlavaBase, task):
    config = Config.model_validate(task.artifact.hyperparameters)
    return without_router(base, config, task)


def test_fixed_weights_by_hand():
    """y = x + 2 * 0.5 * (0.25 * 3 x + 0.75 * 5 x) = 5.5 x, whatever the router says."""
    linear = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(linear.weight)
    a, b = torch.ones(2, 1, 1), torch.tensor([3.0, 5.0]).reshape(2, 1, 1)
    router, fixed = torch.tensor([[9.0], [-9.0]]), torch.tensor([0.25, 0.75])
    experts = SiteExperts(shared=(a, b), router=router, fixed=fixed)
    module = GatedLinear(linear, 0, experts, Mixture(2.0, 0.5, 0.5), Gate()).eval()
    x = torch.tensor([[[1.0], [-2.0], [4.0]]])
    torch.testing.assert_close(module(x), 5.5 * x)
    assert module.router_weights(x).shape == (1, 3, 2)


def test_means_are_those_of_every_row_of_every_held_out_part(base):
    """Layer by layer, softmax by hand, from what each linear of the exact model is given."""
    task = task_of(base, {"routing": "soft"})
    config = Config.model_validate(task.artifact.hyperparameters)
    model = build_model(base, config, task.model_tensors())
    given: dict[str, torch.Tensor] = {}
    for name, module in model.base.language.named_modules():
        if isinstance(module, GatedLinear):
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: given.update({name: inputs[0]})
            )
    with torch.inference_mode():
        model.from_tokens(torch.from_numpy(task.tensors[TOKENS].astype(np.float32)))
    shared_weights = without(base, task).sharing_tasks[-1].shared_weights
    assert len(given) == 14
    for name, x in given.items():
        assert x.shape[0] == 5 and x.shape[1] > base.n_patches + 1
        said = np.exp(
            x.numpy().astype(np.float64) @ task.sharing_tasks[-1].shared_weights[f"router/{name}"].T
        )
        expected = (said / said.sum(axis=2, keepdims=True)).mean(axis=(0, 1))
        found = shared_weights[f"fixed/{name}"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("routing", ["soft", "hard", "selector"])
def test_merged_graph_is_torch_with_the_mean(base, routing):
    task = without(base, task_of(base, {"routing": routing}))
    images = every_image(base)
    expected = reference(base, task, images)
    fused = load_fusion("cl_anomaly", "fused")(task, base, "fp32")
    assert difference(run_modules(fused, images)["score"], expected, NATURAL) <= 1e-5
    module = fused.stages[0].module
    private = {name for name in module.constants if name.startswith("private_")}
    assert not {name for name in module.constants if "shared" in name or "router" in name}
    # Where the selector has chosen, no low-rank product is left at all.
    left = [experts is None for experts in module.experts]
    assert (all(left) and not private) if routing == "selector" else (private and not any(left))
    if routing == "selector":  # a bundle is made of the soft one elsewhere
        got = run_chain(fused, [to_onnx(fused.stages[0])], images)
        assert difference(got, expected, NATURAL) <= 1e-4
    # The approximation is not the exact model.
    exact = reference(base, task_of(base, {"routing": routing}), images)
    assert difference(expected, exact, NATURAL) > 1e-3


def test_merged_change_is_the_sum_over_experts(base):
    """W + s (1 - lambda) sum of w B A, expert by expert from the tensors of the artifact."""
    options = {"routing": "soft", "scale": 1.5, "private_weight": 0.3}
    task = without(base, task_of(base, options))
    module = load_fusion("cl_anomaly", "fused")(task, base, "fp32").stages[0].module
    shared_weights, site = task.sharing_tasks[-1].shared_weights, "layers.1.mlp.down_proj"
    weight = base.language.get_parameter(f"{site}.weight").double()
    eye = torch.eye(weight.shape[1], dtype=torch.float64)
    for number, share in enumerate(shared_weights[f"fixed/{site}"]):
        a, b = (
            torch.from_numpy(shared_weights[f"shared/{site}.lora_{part}"][number]) for part in "AB"
        )
        weight = weight + 1.5 * 0.7 * float(share) * low_rank(eye, a, b).T
    got = module.decision.decoder.layers[1].linears["down"].weight
    torch.testing.assert_close(got.double(), weight.T, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"shared_experts": 1}, {"variant": "sequential", "budget": 2}], ids=str
)
def test_without_a_router_merging_is_exact(base, options):
    task = task_of(base, options)
    lean, effect = merged(task, base)
    assert effect.score_max < 1e-4 and effect.rank_correlation == pytest.approx(1)
    images = every_image(base)
    fused = load_fusion("cl_anomaly", "fused")(lean, base, "fp32")
    got = run_modules(fused, images)["score"]
    assert difference(got, reference(base, task, images), NATURAL) <= 1e-5


def test_effect_by_hand():
    """Thresholds at a rate of 0.4 of four are the third of them: 3 and 3.5."""
    exact = np.array([1.0, 2, 3, 4]), np.array([0.0, 10])
    lean = np.array([1.0, 2.5, 4, 3.5]), np.array([0.0, 3.5])
    effect = weigh(exact, lean, 0.4)
    assert (effect.held_out_images, effect.witness_images) == (4, 2)
    assert (effect.score_mean, effect.score_max) == (0.5, 1.0)
    assert (effect.flips_held_out, effect.flips_witness) == (2, 1)
    # Ranks 2 3 4 5 1 6 against 2 3 6 4.5 1 4.5, Pearson's correlation of them.
    expected = np.corrcoef([2, 3, 4, 5, 1, 6], [2, 3, 6, 4.5, 1, 4.5])[0, 1]
    assert effect.rank_correlation == pytest.approx(expected)
    with pytest.raises(CertificateError, match="2 of 4 held-out and 1 of 2 witness verdicts flip"):
        require(effect, "red")


def test_limits():
    scores = np.arange(30.0), np.arange(10.0) + 40
    swapped = scores[1].copy()
    level = weigh(scores, scores, 0.1)
    assert level.rank_correlation == pytest.approx(1) and not level.flips_witness
    require(level, "red")
    swapped[:2] = -1
    two = weigh(scores, (scores[0], swapped), 0.1)
    assert two.flips_witness == 2
    with pytest.raises(CertificateError, match=r"correlation of scores 0\.820"):
        require(two, "red")
    require(two.model_copy(update={"rank_correlation": 0.9}), "red")
    third = two.model_copy(update={"rank_correlation": 1.0, "flips_held_out": 1})
    with pytest.raises(CertificateError, match="export it without --merge-shared"):
        require(third, "red")
    few = level.model_copy(update={"held_out_images": 4, "witness_images": 8, "flips_witness": 1})
    require(few, "red")


def test_order_that_is_lost_and_order_that_never_was():
    flat, rising = (np.zeros(3), np.zeros(2)), (np.arange(3.0), np.arange(2.0))
    assert weigh(flat, rising, 0.2).rank_correlation is None
    assert weigh(rising, flat, 0.2).rank_correlation == 0
    nothing = (np.full(3, np.nan), np.full(2, np.nan))
    with pytest.raises(CertificateError):
        require(weigh(rising, nothing, 0.2), "red")


def test_effect_is_that_of_the_scores(base):
    task = task_of(base, {"routing": "soft"})
    config = Config.model_validate(task.artifact.hyperparameters)
    lean = without(base, task)
    then, now = (np.array(held_out_scores(base, config, one)) for one in (task, lean))
    # The order is that of the parts, and the model that of the paper.
    expected = reference(base, task, frames(base)[:5])
    np.testing.assert_allclose(then, expected, atol=2e-2 * float(np.ptp(expected)))
    witness = [reference(base, one, task.witness["image"]) for one in (task, lean)]
    effect = weigh((then, witness[0]), (now, witness[1]), 0.2)
    assert effect.score_max == pytest.approx(float(np.abs(then - now).max())) and effect.score_max
    if effect.flips_held_out + effect.flips_witness <= 1 and effect.rank_correlation >= 0.9:
        assert merged(task, base)[1] == effect
    else:
        with pytest.raises(CertificateError, match="--merge-shared changes what the engine says"):
            merged(task, base)


def test_nothing_to_merge_is_refused(base):
    task = task_of(base, {"shared_path": False})
    with pytest.raises(OptionError, match="was learned without shared experts"):
        merged(task, base)


def test_method_without_shared_experts_is_refused(base):
    task = task_of(base, {})
    other = replace(task, artifact=task.artifact.model_copy(update={"method": "patch_memory"}))
    with pytest.raises(OptionError, match="patch_memory has no shared experts"):
        merged(other, base)


@pytest.mark.parametrize(
    ("layout", "precision", "words"),
    [("shared", "fp32", "--layout fused"), ("fused", "uint8", "--precision fp32 or fp16")],
)
def test_plans_that_do_not_merge(tmp_path, layout, precision, words):
    calibration = tmp_path if precision == "uint8" else None
    with pytest.raises(OptionError, match=words):
        ExportPlan(layout, precision, calibration=calibration, merge_shared=True)
