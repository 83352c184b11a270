"""Several views of a part: prompt, anchor, gate and routing, and who refuses them."""

import dataclasses

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cad_edge.cli import main
from cad_edge.errors import ArtifactError, DatasetError, OptionError
from cad_edge.routing import from_tensors
from cad_edge.store.artifact import read_artifact
from cad_edge_export.certificate import in_views
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.images import read_samples
from cad_edge_training.methods.cl_anomaly.anchors import AnchorSum, similarities
from cad_edge_training.methods.cl_anomaly.config import QUESTION, QUESTION_OF_VIEWS, Config
from cad_edge_training.methods.cl_anomaly.learn import build_model, learn
from cad_edge_training.methods.cl_anomaly.questions import (
    PARAPHRASES_OF_VIEWS,
    Question,
    TrainingQuestions,
)
from cad_edge_training.methods.cl_anomaly.session import ProcessShare
from cad_edge_training.methods.cl_anomaly.tower_tokens import ImageTokens, raw_tokens
from cad_edge_training.routing_statistics import describe_images
from cad_edge_training.train import TrainingPlan, read_config, train
from tests.export.expert_samples import frames, sharing_tasks
from tests.training.cl_anomaly_samples import QUICK, a_request, as_task, pictures, quiet
from tests.training.several_views import OPTIONS, VIEWS, line_of, write_parts
from tests.training.tiny_llava import save_tiny_llava


@pytest.fixture(scope="module", params=["siglip", "lite0"])
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    return load_llava(str(save_tiny_llava(folder, request.param)))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("models") / "tiny")))


@pytest.mark.parametrize("views", [2, 3])
def test_the_score_is_what_transformers_says_of_several_images(base, views):
    """By its own forward: one tile of each image, at its place in the text."""
    config = Config(question=QUESTION_OF_VIEWS)
    task = sharing_tasks(base, config, 3)[1]
    model = build_model(base, config, task.model_tensors())
    prompt = base.prompt(QUESTION_OF_VIEWS, views)
    image_id = base.tokenizer.token_to_id("<image>")
    ids = [*prompt.before, *[image_id] * (views * (base.n_patches + 1)), *prompt.after]
    found = []
    for frame in in_views(frames(base, 1), views):
        with torch.inference_mode():
            score, _ = model(torch.from_numpy(frame[None]))  # sets the gate, too
            pixels = base.normalise(torch.from_numpy(frame))
            logits = model.base.model(
                input_ids=torch.tensor([ids]),
                pixel_values=pixels,
                image_sizes=torch.tensor([pixels.shape[-2:]] * views),
                batch_num_images=torch.tensor([views]),
            ).logits[0, -1]
        yes, no = (logits[list(ids)].logsumexp(0) for ids in (base.answers.yes, base.answers.no))
        assert abs(float(yes - no - score)) < 1e-4
        found.append(float(score))
    assert np.ptp(found) > 0.01


def test_frames_of_a_batch_do_not_mix_and_the_order_of_views_counts(base):
    config = Config(question=QUESTION_OF_VIEWS)
    model = build_model(base, config, sharing_tasks(base, config, 2)[0].model_tensors())
    shown = torch.from_numpy(in_views(frames(base, 1), 2))
    with torch.inference_mode():
        together = model(shown)[0]
        alone = torch.cat([model(one[None])[0] for one in shown])
        turned = model(shown.flip(1))[0]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert (together - turned).abs().max() > 1e-4


def test_one_view_is_one_image(base):
    images = torch.from_numpy(frames(base, 1))
    raw = base.look(images)
    assert torch.equal(base.look(images[:, None]), raw[:, None])
    assert torch.equal(base.image_tokens(raw[:, None]), base.image_tokens(raw))


def test_rows_of_views_follow_each_other_each_with_its_newline(base):
    shown = torch.from_numpy(in_views(frames(base, 1)[:2], 2))
    rows, each = base.image_tokens(base.look(shown)), base.n_patches + 1
    assert rows.shape == (2, 2 * each, base.width)
    for view in range(2):
        alone = base.image_tokens(base.look(shown[:, view]))
        torch.testing.assert_close(rows[:, view * each : (view + 1) * each], alone)
        assert torch.equal(rows[1, view * each + each - 1], base.image_newline)


def test_anchor_is_the_mean_over_views_and_tokens():
    raw = torch.tensor([[[[0.0, 8], [2, 0]], [[4, 0], [6, 0]]], [[[1.0, 1], [1, 1]]] * 2])
    found = AnchorSum.empty(2).add(raw)
    assert found.count == 2 and found.total.tolist() == [4.0, 3.0]  # (3, 2) and (1, 1)
    assert found.mean().tolist() == [2.0, 1.5]
    cosines = similarities(raw, torch.tensor([[3.0, 2], [0, 1]]))
    expected = [[1.0, 2 / 13**0.5], [5 / 26**0.5, 0.5**0.5]]
    torch.testing.assert_close(cosines, torch.tensor(expected))


def several(base, workspace, task="red", earlier=(), views=VIEWS):
    """A request with views of one tint, of which defective parts have one with a bright corner."""
    request = a_request(base, workspace, task, earlier)
    tint, side = {"red": (150, 40, 40), "blue": (40, 50, 150)}[task], base.recipe.width
    good = [pictures(side, tint, 15, False, seed) for seed in range(views)]
    bad = [pictures(side, tint, 6, seed + 1 == views, seed) for seed in range(views)]
    return dataclasses.replace(
        request, images=np.stack(good, axis=1), defective=np.stack(bad, axis=1)
    )


def test_a_defect_in_one_view_is_learned(tmp_path, siglip):
    config = Config(**QUICK | {"epochs": 8, "question": QUESTION_OF_VIEWS})
    tasks = []
    for name in ("red", "blue"):
        request = several(siglip, tmp_path / name, name, tasks)
        learned = learn(request, config)
        tasks.append(as_task(request, config, learned))
    own = tasks[1].tensors
    assert own["held_out/tokens"].shape == (4, VIEWS, siglip.n_patches, siglip.vision_width)
    assert own["anchor_count"] == 17 and len(learned.calibration.scores) == 4
    model = build_model(siglip, config, tasks[1].model_tensors())
    good, bad = (torch.from_numpy(one) for one in (request.images, request.defective))
    with torch.inference_mode():
        assert model(good)[0].max() < model(bad)[0].min()


def test_tokens_are_the_same_whether_they_are_kept_or_not(siglip, monkeypatch, tmp_path):
    request = several(siglip, tmp_path, views=3)
    tokens = ImageTokens(siglip, request.images, False)
    assert tokens.views == 3
    some = torch.tensor([4, 0, 11])
    anchor = tokens.measure(ProcessShare(), quiet)
    kept = tokens.at(some)
    assert kept.shape == (3, 3 * (siglip.n_patches + 1), siglip.width)
    monkeypatch.setattr("cad_edge_training.methods.cl_anomaly.tower_tokens.CACHE_BYTES", 0)
    anew = ImageTokens(siglip, request.images, False)
    torch.testing.assert_close(anew.measure(ProcessShare(), quiet).total, anchor.total)
    torch.testing.assert_close(anew.at(some), kept)
    expected = raw_tokens(siglip, request.images).double().mean(dim=(1, 2)).sum(dim=0)
    torch.testing.assert_close(anchor.total, expected)


def test_what_is_asked_of_several_views(siglip):
    plan = TrainingPlan("cl_anomaly", "llava:x", None, {}, 0)
    assert read_config(plan).question == QUESTION
    assert read_config(plan, 2).question == QUESTION_OF_VIEWS
    assert "multiview images" in QUESTION_OF_VIEWS
    own = dataclasses.replace(plan, options={"question": "Is it broken?"})
    assert read_config(own, 2).question == "Is it broken?"
    config = Config(question=QUESTION_OF_VIEWS, paraphrases=True)
    asked = TrainingQuestions.of(siglip, config, 2).questions
    for found, text in zip(asked, (QUESTION_OF_VIEWS, *PARAPHRASES_OF_VIEWS), strict=True):
        assert torch.equal(found.after, Question.of(siglip, text).after)


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> str:
    return f"llava:{save_tiny_llava(tmp_path_factory.mktemp('base') / 'tiny-llava', 'lite0')}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    for name in ("checks", "waves"):
        write_parts(folder, name)
    return folder


def learn_line(stream, out, llava, method="cl_anomaly"):
    backbone, options = (llava, OPTIONS) if method == "cl_anomaly" else ("efficientnet-lite0", {})
    return train(stream, out, TrainingPlan(method, backbone, None, options, 0), lambda name: quiet)


def test_an_artifact_of_several_views(place, llava, tmp_path):
    stream = line_of(place, "waves")
    assert learn_line(stream, tmp_path / "out", llava) == ["waves"]
    task, backbone = read_artifact(tmp_path / "out/waves"), load_backbone(llava)
    side = backbone.recipe.width
    assert task.artifact.views == VIEWS
    assert task.artifact.hyperparameters["question"] == QUESTION_OF_VIEWS
    assert task.witness["image"].shape == (8, VIEWS, side, side, 3)
    assert task.witness["score"].shape == (8,)
    product = stream.tasks[0].samples()
    images = read_samples(product.train_views(), VIEWS, backbone.recipe, quiet)
    each = describe_images(backbone, images.reshape(-1, side, side, 3))
    expected = each.reshape(len(images), VIEWS, -1).mean(axis=1)
    statistics = from_tensors(task.routing)
    assert statistics.count == len(images)
    np.testing.assert_allclose(statistics.mean, expected.mean(axis=0), rtol=1e-5, atol=1e-6)
    with pytest.raises(ArtifactError, match=r"waves was learned with views: 2, not 1, and one"):
        learn_line(line_of(place, "checks", views=1), tmp_path / "out", llava)


def test_tasks_with_different_numbers_of_views_are_refused(place, llava, tmp_path):
    stream = line_of(place, "waves", "checks", views=3)
    with pytest.raises(DatasetError, match=r"task waves has views: 2 and checks views: 3, and one"):
        learn_line(stream, tmp_path / "out", llava)


def test_a_method_that_looks_at_one_image_says_so(place, tmp_path):
    stream = line_of(place, "waves")
    with pytest.raises(
        OptionError, match=r"patch_memory looks at one .* views: 2; take --method cl_an"
    ):
        learn_line(stream, tmp_path / "out", "", "patch_memory")
    command = ["train", "--stream", str(place / "views.json"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command)
    errors = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert done.exit_code == 1 and len(errors) == 1 and "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_more_views_than_the_language_model_reads(tmp_path, siglip):
    request = several(siglip, tmp_path, views=100)
    with pytest.raises(OptionError, match=r"with 100 images is \d+ tokens long, .* at most 512"):
        learn(request, Config(**QUICK))
