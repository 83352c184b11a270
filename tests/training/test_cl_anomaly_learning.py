import dataclasses

import numpy as np
import pytest
import torch

from cad_edge.errors import DatasetError, OptionError
from cad_edge_training.backbones import load_backbone, weights_sha256
from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.division import divide
from cad_edge_training.methods.cl_anomaly import learn as module
from cad_edge_training.methods.cl_anomaly.adapted_model import adapted_model_of
from cad_edge_training.methods.cl_anomaly.adapters import save_adapter
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.experts import GatedLinear
from cad_edge_training.methods.cl_anomaly.learn import build_model, learn, recalibrate
from cad_edge_training.methods.cl_anomaly.merging import coefficients, merge
from cad_edge_training.methods.cl_anomaly.sites import sites_of
from cad_edge_training.methods.cl_anomaly.start import starting_values
from cad_edge_training.methods.cl_anomaly.tower_tokens import ImageTokens, raw_tokens
from tests.training.cl_anomaly_samples import QUICK, a_request, as_task, learn_all, pictures
from tests.training.tiny_llava import save_tiny_llava

CONFIG = Config(**QUICK | {"epochs": 3})
TINTS = {"red": (150, 40, 40), "blue": (40, 50, 150)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("models") / "tiny-llava")))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory, base):
    return learn_all(base, tmp_path_factory.mktemp("work"), CONFIG, ("red", "blue"))


def model_of(base, task, **changes):
    config = CONFIG.model_copy(update=changes)
    return build_model(base, config, task.model_tensors())


def scores(model, images):
    with torch.inference_mode():
        return model(torch.from_numpy(images))[0].numpy()


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


@pytest.mark.parametrize("name", TINTS)
def test_defects_are_told_from_good_parts_after_both_tasks(base, tasks, name):
    model, side = model_of(base, tasks[1]), base.recipe.width
    good = scores(model, pictures(side, TINTS[name], 8, False, seed=9))
    bad = scores(model, pictures(side, TINTS[name], 8, True, seed=9))
    assert good.dtype == np.float32 and good.max() < bad.min()


def test_what_an_artifact_holds(base, tasks):
    sites, width = sites_of(base.language), base.vision_width
    own, shared = tasks[1].tensors, tasks[1].shared_weights
    for site in sites:
        assert own[f"private/{site.name}.lora_A"].shape == (2, site.inputs)
        assert own[f"private/{site.name}.lora_B"].shape == (site.outputs, 2)
        assert shared[f"shared/{site.name}.lora_A"].shape == (4, 2, site.inputs)
        assert shared[f"shared/{site.name}.lora_B"].shape == (4, site.outputs, 2)
        assert shared[f"router/{site.name}"].shape == (4, site.inputs)
    assert len(own) == 2 * len(sites) + 5 and len(shared) == 3 * len(sites) + 1
    assert (own["anchor"].dtype, own["anchor"].shape) == (np.float32, (width,))
    assert (own["anchor_sum"].dtype, own["anchor_count"].dtype) == (np.float64, np.int64)
    assert (own["keys"].dtype, own["keys"].shape) == (np.int64, (2, 1))
    assert own["held_out/tokens"].dtype == np.float16
    assert own["held_out/tokens"].shape == (4, base.n_patches, width)
    assert shared["stage"] == 2


def test_the_anchor_is_that_of_the_images_that_were_learned_from(tmp_path, base, tasks):
    request = a_request(base, tmp_path)
    learned = divide(len(request.images), request.rate, request.seed, "red").learned
    shown = np.concatenate([request.images[learned], request.defective])
    expected = raw_tokens(base, shown).double().mean(dim=1)
    assert tasks[0].tensors["anchor_count"] == len(shown) == 17
    np.testing.assert_allclose(tasks[0].tensors["anchor_sum"], expected.sum(dim=0), rtol=1e-12)


def test_a_later_task_leaves_what_earlier_ones_own(tmp_path, base, tasks):
    before = [{name: value.copy() for name, value in task.tensors.items()} for task in tasks]
    state = weights_sha256(base.state_dict())
    request = a_request(base, tmp_path, "green", tasks)
    assert learn(request, CONFIG).shared_weights["stage"] == 3
    assert all(same(task.tensors, kept) for task, kept in zip(tasks, before, strict=True))
    assert weights_sha256(base.state_dict()) == state
    assert all(weight.grad is None for weight in base.parameters())


def test_old_experts_are_not_in_the_graph(tmp_path, base, tasks):
    request = a_request(base, tmp_path, "green", tasks)
    adapted = adapted_model_of(
        base, CONFIG, starting_values(request, CONFIG, base), torch.device("cpu")
    )
    gated = [part for part in adapted.base.modules() if isinstance(part, GatedLinear)]
    assert len(gated) == len(sites_of(base.language))
    assert all(len(part.experts.private) == 1 for part in gated)
    assert all(not weight.requires_grad for weight in adapted.base.parameters())
    for name, weight in tasks[1].shared_weights.items():
        if name != "stage":
            assert np.array_equal(adapted.learned[name].detach().numpy(), weight)


def test_shared_experts_are_merged_by_their_keys_and_routers_kept(tmp_path, base, tasks):
    plain = CONFIG.model_copy(update={"layer_adaptive": False})
    first, second = learn_all(base, tmp_path, plain, ("red", "blue"))
    # The first task has nothing to be merged with.
    assert same(first.shared_weights, tasks[0].shared_weights)
    assert same(second.tensors, tasks[1].tensors)
    beta = coefficients(first.tensors["keys"], second.tensors["keys"], 4)
    expected = merge(first.shared_weights, second.shared_weights, beta, sites_of(base.language))
    assert same(expected, tasks[1].shared_weights)
    assert not same(second.shared_weights, tasks[1].shared_weights)


def test_calibration_has_seen_no_image_that_was_learned_from(tmp_path, base, monkeypatch):
    seen = []

    class Watched(ImageTokens):
        def __init__(self, base, images, projector_changes):
            seen.append(images)
            super().__init__(base, images, projector_changes)

    monkeypatch.setattr(module, "ImageTokens", Watched)
    request = a_request(base, tmp_path)
    learned = learn(request, CONFIG.model_copy(update={"epochs": 1}))
    shown = {image.tobytes() for image in seen[0]}
    held = np.stack([image for image in request.images if image.tobytes() not in shown])
    assert (len(held), len(shown)) == (4, 11 + len(request.defective))
    tokens = raw_tokens(base, held).numpy().astype(np.float16)
    np.testing.assert_array_equal(learned.tensors["held_out/tokens"], tokens)
    assert len(learned.calibration.scores) == 4
    assert (learned.calibration.scheme, learned.calibration.folds) == ("split", 1)
    assert learned.calibration.map_peaks == []


def test_the_newest_model_version_calibrates_anew(base, tasks):
    assert recalibrate(base, CONFIG, tasks[1]) == tasks[1].artifact.calibration
    first = dataclasses.replace(tasks[0], sharing_tasks=tasks[1].sharing_tasks)
    now = recalibrate(base, CONFIG, first)
    assert now.scores != first.artifact.calibration.scores
    raw = torch.from_numpy(first.tensors["held_out/tokens"].astype(np.float32))
    with torch.inference_mode():
        expected = model_of(base, first).from_tokens(raw).tolist()
    assert now.scores == pytest.approx(sorted(expected), abs=1e-6)


def test_the_model_says_by_which_experts_it_answers(base, tasks):
    images = torch.from_numpy(pictures(base.recipe.width, TINTS["blue"], 3, False, seed=9))
    with torch.inference_mode():
        model = model_of(base, tasks[1])
        score, mu = model.with_gate(model.raw(images))
        said, anomaly_map = model(images)
        assert anomaly_map is None and torch.equal(said, score)
        assert mu.shape == (3, 2) and torch.allclose(mu.sum(dim=1), torch.ones(3))
        assert (mu[:, 1] > 0.5).all()
        hard = model_of(base, tasks[1], routing="hard")
        assert hard.with_gate(hard.raw(images))[1].tolist() == [[0, 1]] * 3
        first = dataclasses.replace(tasks[0], sharing_tasks=tasks[1].sharing_tasks)
        selector = model_of(base, first, routing="selector")
        assert selector.with_gate(selector.raw(images))[1].tolist() == [[1, 0]] * 3


def test_the_score_is_the_margin_of_the_answers(base, tasks):
    images = torch.from_numpy(pictures(base.recipe.width, TINTS["red"], 2, True, seed=9))
    model = model_of(base, tasks[1])
    with torch.inference_mode():
        score, _ = model(images)
        rows = model.question.around(base.image_tokens(model.raw(images)))
        hidden = model.base.language(inputs_embeds=rows, use_cache=False).last_hidden_state
        logits = base.head(hidden)[:, -1]
        yes, no = (base.tokenizer.token_to_id(word) for word in ("Yes", "No"))
        torch.testing.assert_close(score, logits[:, yes] - logits[:, no])
    assert model.base.head.weight.data_ptr() == base.head.weight.data_ptr()


@pytest.mark.parametrize(
    "changes",
    [
        {"variant": "sequential", "budget": 6},
        {"variant": "moe", "budget": 6},
        {"private_path": False},
        {"shared_path": False},
        {"train_projector": True},
        {"shared_experts": 1},
        {"precision": "bfloat16", "gradient_checkpointing": True},
        {"paraphrases": True, "balanced": False},
    ],
    ids=str,
)
def test_every_way_to_learn_gives_a_model(tmp_path, base, changes):
    config = CONFIG.model_copy(update={"epochs": 1, "checkpoint_steps": 2, **changes})
    first, second = learn_all(base, tmp_path, config, ("red", "blue"))
    own, shared = second.tensors, second.shared_weights
    parts = config.composition
    assert any(name.startswith("private/") for name in own) == bool(parts.private)
    assert any(name.startswith("shared/") for name in shared) == bool(parts.shared)
    assert any(name.startswith("router/") for name in shared) == (
        bool(parts.shared) and parts.experts > 1
    )
    assert any(name.startswith("projector/") for name in shared) == config.train_projector
    assert first.evolves and second.evolves
    if parts.shared:
        a = shared["shared/layers.0.mlp.up_proj.lora_A"]
        assert a.shape == (parts.experts, parts.rank, 32)
    images = pictures(base.recipe.width, TINTS["blue"], 2, False)
    model = build_model(base, config, second.model_tensors())
    assert np.isfinite(scores(model, images)).all()


@pytest.mark.parametrize(("private", "factor"), [(True, 0.25), (False, 1.0)])
def test_the_shared_path_learns_slower_beside_a_private_one(tmp_path, base, private, factor):
    """The first step of AdamW is the rate itself, whatever the gradient; B starts from zero."""
    changes = {"epochs": 1, "batch": 22, "warm_up": 0.0, "learning_rate": 1e-3, "shared_rate": 0.25}
    config = CONFIG.model_copy(update={**changes, "private_path": private})
    learned = learn(a_request(base, tmp_path), config)
    moved = {
        path: max(np.abs(value).max() for name, value in held.items() if name.endswith("lora_B"))
        for path, held in (("private", learned.tensors), ("shared", learned.shared_weights))
        if private or path == "shared"
    }
    assert moved["shared"] == pytest.approx(1e-3 * factor, rel=1e-2)
    assert not private or moved["private"] == pytest.approx(1e-3, rel=1e-2)


def test_a_learned_projector_is_used_and_the_base_keeps_its_own(tmp_path, base):
    config = CONFIG.model_copy(update={"epochs": 1, "train_projector": True})
    (task,) = learn_all(base, tmp_path, config, ("red",))
    tensors = task.model_tensors()
    weight = tensors["projector/linear_1.weight"]
    assert not np.array_equal(weight, base.projector.linear_1.weight.numpy())
    images = pictures(base.recipe.width, TINTS["red"], 2, False)
    kept = {name: value for name, value in tensors.items() if not name.startswith("projector/")}
    with_own, without = (scores(build_model(base, config, one), images) for one in (tensors, kept))
    assert np.abs(with_own - without).max() > 1e-4


def test_memory_is_saved_without_another_result(tmp_path, base, monkeypatch):
    config = CONFIG.model_copy(update={"epochs": 1})
    whole = learn(a_request(base, tmp_path / "a"), config)
    checkpointed = learn(
        a_request(base, tmp_path / "b"), config.model_copy(update={"gradient_checkpointing": True})
    )
    assert same(whole.shared_weights, checkpointed.shared_weights)
    assert np.array_equal(whole.tensors["keys"], checkpointed.tensors["keys"])
    without = config.model_copy(update={"dropout": 0.0})
    whole = learn(a_request(base, tmp_path / "c"), without)
    monkeypatch.setattr("cad_edge_training.methods.cl_anomaly.tower_tokens.CACHE_BYTES", 0)
    parts = learn(a_request(base, tmp_path / "d"), without.model_copy(update={"micro_batch": 1}))
    name = "private/layers.1.mlp.down_proj.lora_B"
    np.testing.assert_allclose(whole.tensors[name], parts.tensors[name], atol=2e-4)


def test_a_task_starts_from_an_adapter(tmp_path, base, tasks):
    folder = save_adapter(tmp_path / "adapter", tasks[0].tensors, base.identity.id, CONFIG.scale)
    changes = {"epochs": 1, "learning_rate": 1e-12, "adapter": str(folder)}
    learned = learn(a_request(base, tmp_path / "w"), CONFIG.model_copy(update=changes))
    for name, value in tasks[0].tensors.items():
        if name.startswith("private/"):
            np.testing.assert_allclose(learned.tensors[name], value, atol=1e-9)


def test_without_defects_there_is_nothing_to_learn_yes_from(tmp_path, base):
    request = a_request(base, tmp_path, bad=0)
    with pytest.raises(DatasetError, match="red has no labelled training images with a defect"):
        learn(request, CONFIG)


def test_too_few_good_parts_are_refused(tmp_path, base):
    request = dataclasses.replace(
        a_request(base, tmp_path), images=a_request(base, tmp_path).images[:3]
    )
    with pytest.raises(DatasetError, match="red has 3 images of good parts, too few"):
        learn(request, CONFIG)


def test_a_backbone_without_words_is_refused(tmp_path, base):
    request = dataclasses.replace(
        a_request(base, tmp_path), backbone=load_backbone("efficientnet-lite0")
    )
    with pytest.raises(OptionError, match="efficientnet-lite0 has none; give --backbone"):
        learn(request, CONFIG)


def test_tasks_that_share_experts_share_their_options(tmp_path, base, tasks):
    request = a_request(base, tmp_path, "green", tasks)
    with pytest.raises(
        OptionError, match=r"red was learned with rank=2 and not 5, .* give the same"
    ):
        learn(request, CONFIG.model_copy(update={"rank": 5}))


@pytest.mark.parametrize(
    ("images", "rate", "held_out"),
    [
        (100, 0.2, 20),  # a fifth
        (100, 0.04, 24),  # what the rate needs
        (30, 0.05, 6),  # which would leave less than half
        (400, 0.01, 32),  # what an artifact keeps
        (4, 0.2, 1),
    ],
)
def test_how_many_are_held_out(images, rate, held_out):
    found = divide(images, rate, 0, "red")
    assert len(found.held_out) == held_out
    assert sorted([*found.held_out, *found.learned]) == list(range(images))
    other = divide(images, rate, 1, "red")
    assert images == 4 or not np.array_equal(found.held_out, other.held_out)


def test_sharing_tasks_are_read_from_their_artifacts(tmp_path, base, tasks):
    """Tensors of no dimension come back from a file with one, which a model has to take."""
    tensors = {
        name: np.ascontiguousarray(value) for name, value in tasks[1].model_tensors().items()
    }
    images = pictures(base.recipe.width, TINTS["blue"], 2, False)
    expected = scores(model_of(base, tasks[1]), images)
    np.testing.assert_array_equal(scores(build_model(base, CONFIG, tensors), images), expected)
    again = as_task(a_request(base, tmp_path, "blue", tasks[:1]), CONFIG, _learned(tasks[1]))
    assert recalibrate(base, CONFIG, again) == tasks[1].artifact.calibration


def _learned(task):
    from cad_edge_training.learned import LearningResult

    return LearningResult(task.tensors, task.artifact.calibration, task.shared_weights)
