"""Several views of a part from images to verdicts and words, by one tower for any number."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cad_edge.cli import main
from cad_edge.data.stream import read_stream
from cad_edge.errors import ArtifactError, ImageError, OptionError
from cad_edge.routing import fit_discriminant, from_tensors
from cad_edge.store.artifact import LearnedTask, read_artifact, with_sharing_tasks
from cad_edge.store.bundle import Bundle
from cad_edge_export.certificate import in_views, reference_model, run_chain
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.fusions import load_fusion
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.plan import ExportPlan
from cad_edge_export.selector import DiscriminantModule, KeySet
from cad_edge_runtime import Detector
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.llava import LlavaBase, load_llava
from cad_edge_training.methods.cl_anomaly.config import QUESTION_OF_VIEWS, Config
from cad_edge_training.methods.cl_anomaly.explanation import greedy
from cad_edge_training.methods.cl_anomaly.learn import build_model
from cad_edge_training.routing_statistics import describe_images
from cad_edge_training.train import TrainingPlan, train
from tests.export.expert_samples import difference, frames, reference, run_modules, sharing_tasks
from tests.training.several_views import OPTIONS, VIEWS, line_of, part, write_parts
from tests.training.small_products import quiet
from tests.training.tiny_llava import save_tiny_llava

NAMES = ("checks", "waves")
THREE = 3  # views where nothing is learned


@pytest.fixture(scope="module")
def siglip(tmp_path_factory) -> LlavaBase:
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("base") / "tiny")))


def tasks_of_views(base: LlavaBase, config: Config, count: int) -> list[LearnedTask]:
    """Tasks with drawn experts, learned as if from parts in three views."""
    found = [
        dataclasses.replace(task, artifact=task.artifact.model_copy(update={"views": THREE}))
        for task in sharing_tasks(base, config, count)
    ]
    return with_sharing_tasks(found)


@pytest.mark.parametrize("layout", ["shared", "fused"])
@pytest.mark.parametrize("routing", ["soft", "hard", "selector"])
def test_fused_forms_are_the_reference_model(siglip, routing, layout):
    config = Config(routing=routing, question=QUESTION_OF_VIEWS)
    task = tasks_of_views(siglip, config, 3)[1]
    fused = load_fusion("cl_anomaly", layout)(task, siglip, "fp32")
    assert fused.views == THREE
    images = in_views(frames(siglip, 1), THREE)
    expected = reference(siglip, task, images)
    found = run_modules(fused, images.reshape(-1, *images.shape[2:]))["score"]
    assert difference(found, expected, len(images)) <= 1e-5


def test_a_self_contained_graph_takes_any_number_of_frames(siglip):
    """The shared layout is certified by the exporter, below."""
    task = tasks_of_views(siglip, Config(), 2)[1]
    fused = load_fusion("cl_anomaly", "fused")(task, siglip, "fp32")
    images = in_views(frames(siglip, 1), THREE)
    graphs = [to_onnx(fused.stages[0])]
    together = run_chain(fused, graphs, images).score
    assert difference(together, reference(siglip, task, images), len(images)) <= 1e-4
    alone = run_chain(fused, graphs, images[2:3]).score
    assert alone.shape == (1,) and abs(float(alone[0] - together[2])) < 1e-4


def test_of_the_graphs_of_one_view_only_the_decision_is_another(siglip):
    one = load_fusion("cl_anomaly", "shared")(sharing_tasks(siglip, Config(), 1)[0], siglip, "fp32")
    several = load_fusion("cl_anomaly", "shared")(
        tasks_of_views(siglip, Config(), 1)[0], siglip, "fp32"
    )
    keys = [[stage.shared_key for stage in fused.stages] for fused in (one, several)]
    assert keys[0][:2] == keys[1][:2] and keys[0][2] != keys[1][2]
    assert "views" not in keys[0][2] and keys[1][2].endswith(" 3 views")


def test_the_discriminant_takes_the_mean_descriptor_of_all_views():
    generator = torch.Generator().manual_seed(2)
    shapes = ((6, 4), (4, 3), (3,), (2, 3))
    descriptor, matrix, bias, keys = (torch.randn(one, generator=generator) for one in shapes)
    mean = torch.stack([descriptor[:3].mean(0), descriptor[3:].mean(0)])
    expected = torch.cdist(mean @ matrix + bias, keys)
    torch.testing.assert_close(DiscriminantModule(3)(descriptor, matrix, bias, keys), expected)


def test_the_key_set_takes_the_patches_of_all_views():
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(4, 5, 3, generator=generator)
    keys = torch.randn(2, 6, 3, generator=generator)
    each = KeySet()(patches, keys)
    torch.testing.assert_close(KeySet(2)(patches, keys), each.reshape(2, 2, 2).mean(1))


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> str:
    return f"llava:{save_tiny_llava(tmp_path_factory.mktemp('base') / 'tiny-llava', 'lite0')}"


@pytest.fixture(scope="module")
def place(llava, tmp_path_factory) -> Path:
    """Two products in two views, learned into ``artifacts`` and exported into ``bundle``."""
    folder = tmp_path_factory.mktemp("views")
    for name in NAMES:
        write_parts(folder, name)
    out = folder / "artifacts"
    plan = TrainingPlan("cl_anomaly", llava, None, OPTIONS, 0)
    train(line_of(folder, *NAMES), out, plan, lambda name: quiet)
    found = [out / name for name in NAMES]
    added = export_artifacts(found, folder / "bundle", ExportPlan(backbone=llava), quiet)
    assert added == list(NAMES)
    return folder


@pytest.fixture(scope="module")
def detector(place):
    with Detector.open(place / "bundle", device="cpu", watch=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def parts() -> list[list[np.ndarray]]:
    """Good and defective parts of both products in turns."""
    rng = np.random.default_rng(5)
    return [part(name, rng, bad) for _ in range(3) for name in NAMES for bad in (False, True)]


def test_the_bundle_says_how_many_views(place):
    manifest = Bundle(place / "bundle").manifest()
    written = json.loads(next((place / "bundle/manifests").glob("*.json")).read_text())
    assert written["selector"]["engine"]["views"] == VIEWS
    for task in manifest.tasks.values():
        assert task.engine.views == task.explainer.engine.views == VIEWS
        assert task.certificate.flips == 0 and task.certificate.score_max <= 1e-4
        assert task.explainer.texts.question == QUESTION_OF_VIEWS
    selector = manifest.selector.engine
    assert selector.stages[0].graph == manifest.tasks["waves"].engine.stages[0].graph


def test_device_says_what_torch_says(place, llava, detector, parts):
    backbone = load_backbone(llava)
    tasks = with_sharing_tasks([read_artifact(place / "artifacts" / name) for name in NAMES])
    shown = np.stack([[backbone.recipe.apply(view) for view in one] for one in parts])
    flat = describe_images(backbone, shown.reshape(-1, *shown.shape[2:]))
    descriptors = flat.reshape(len(parts), VIEWS, -1).mean(axis=1)
    selector = fit_discriminant({one.artifact.task: from_tensors(one.routing) for one in tasks})
    nearest = [selector.tasks[best] for best in selector.distances(descriptors).argmin(axis=1)]
    routed = detector.detect_batch(parts)
    assert [one.nearest for one in routed] == nearest == [*("checks",) * 2, *("waves",) * 2] * 3
    for task in tasks:
        with torch.inference_mode():
            score = reference_model(task, backbone)(torch.from_numpy(shown))[0].numpy()
        name, near = task.artifact.task, 1e-4 * float(np.ptp(score))
        batch = detector.detect_batch(parts, task=name)
        np.testing.assert_allclose([one.score for one in batch], score, atol=near)
        single = [detector.detect(one, task=name).score for one in parts]
        np.testing.assert_allclose(single, score, atol=near)
        for found, expected in zip(routed, score, strict=True):
            # What is recognised in a batch is judged by its own views and no other frame's.
            assert found.task != name or abs(found.score - expected) <= near
    assert {one.task for one in routed} >= set(NAMES)


def test_words_are_those_of_torch(place, llava, detector, parts):
    backbone = load_backbone(llava)
    tasks = with_sharing_tasks([read_artifact(place / "artifacts" / name) for name in NAMES])
    config = Config.model_validate(tasks[1].artifact.hyperparameters)
    model = build_model(backbone, config, tasks[1].model_tensors())
    shown = np.stack([backbone.recipe.apply(view) for view in parts[3]])
    with torch.inference_mode():
        said = greedy(model, model.raw(torch.from_numpy(shown[None])), 6)
    found = detector.explain(parts[3], task="waves", max_tokens=6)
    assert 1 <= len(found.tokens) <= 6
    assert list(found.tokens) == said.tokens[0, : len(found.tokens)].tolist()


@pytest.mark.parametrize("ask", ["detect", "explain", "conversation"])
def test_another_number_of_pictures_is_one_sentence(detector, parts, ask):
    assert detector.views == VIEWS
    for given, found in ((parts[0][0], "1 picture was"), ([parts[0][0]] * 3, "3 pictures were")):
        with pytest.raises(ImageError, match=f"{found} given as one frame, and .* 2 views of ev"):
            getattr(detector, ask)(given, task="waves")
    with pytest.raises(ImageError, match=r"image 1: 3 pictures were given"):
        detector.detect_batch([parts[0], [*parts[1], parts[1][0]]])
    with pytest.raises(ImageError, match=r"view 1: the image array has shape \(4,\)"):
        getattr(detector, ask)([parts[0][0], np.zeros(4, np.uint8)], task="waves")
    with pytest.raises(ImageError, match="a frame of several views has no depth"):
        depth = np.zeros(parts[0][0].shape[:2], np.float32)
        getattr(detector, ask)(parts[0], task="waves", depth=depth)


def run(*words: object) -> tuple[int, list[dict[str, object]], list[str]]:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    lines = done.output.splitlines()
    said = [json.loads(line) for line in lines if line.startswith("{")]
    return done.exit_code, said, [line for line in lines if line.startswith("Error: ")]


def test_the_command_takes_folders_of_views(place, detector):
    tested = place / "waves/test"
    code, said, errors = run("detect", place / "bundle", tested, "--task", "waves")
    assert (code, errors, len(said)) == (0, [], 16)
    assert said[0]["path"] == str(tested / "blot/000")
    files = [tested / "blot/000" / f"{view}.png" for view in range(VIEWS)]
    expected = detector.detect(files, task="waves").score
    assert said[0]["score"] == pytest.approx(expected, abs=1e-5)
    code, said, errors = run("detect", place / "bundle", files[0].parent, files[0].parent)
    assert (code, errors, len(said)) == (0, [], 2)


def test_the_command_says_what_is_no_part(place, tmp_path):
    for folder, count in (("a", 1), ("b", 2), ("c", 3)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.new("RGB", (80, 80)).save(tmp_path / folder / f"{number}.png")
    (tmp_path / "d").mkdir()
    places = [tmp_path, tmp_path / "b/0.png", tmp_path / "nowhere", tmp_path / "d"]
    code, said, errors = run("detect", place / "bundle", *places)
    assert code == 1 and [one["path"] for one in said] == [str(tmp_path / "b")]
    wanted = [
        f"{tmp_path / 'a'} holds 1 image, and the bundle looks at 2 views of every part; give it 2",
        f"{tmp_path / 'c'} holds 3 images, and",
        f"{tmp_path / 'b/0.png'} is no folder, and the bundle looks at 2 views",
        f"{tmp_path / 'nowhere'} is no folder",
        f"{tmp_path / 'd'} holds no image",
    ]
    assert len(errors) == len(wanted)
    assert all(words in error for words, error in zip(wanted, errors, strict=True))


def test_a_bundle_is_evaluated_on_its_parts(place, tmp_path):
    report = tmp_path / "figures.json"
    stream = place / "views.json"
    assert run("evaluate", place / "bundle", "--stream", stream, "--out", report)[0] == 0
    found = json.loads(report.read_text())["tasks"]
    for task in read_stream(stream).tasks:
        labels = [item.anomalous for item in task.samples().test]
        figures = found[task.name]
        assert (figures["images_normal"], figures["images_defective"]) == (
            labels.count(False),
            labels.count(True),
        )
        assert figures["routing_normal"] is not None and figures["pixel_auroc"] is None


def test_words_by_the_command(place):
    asked = ["explain", place / "bundle", place / "waves/test/blot/001", "--task", "waves"]
    assert run(*asked, "--max-tokens", 2)[0] == 0
    code, _, (error,) = run(*asked[:2], asked[2] / "0.png", *asked[3:])
    assert code == 1 and "1 picture was given as one frame" in error


def test_tasks_of_another_number_of_views_have_a_bundle_of_their_own(place, llava, tmp_path):
    record = place / "artifacts/waves/artifact.json"
    alone = tmp_path / "checks"
    alone.mkdir()
    for file in (place / "artifacts/checks").iterdir():
        (alone / file.name).write_bytes(file.read_bytes())
    content = json.loads(record.read_text()) | {"views": 3}
    del content["sha256"]  # as before there were any
    other = tmp_path / "waves"
    other.mkdir()
    for file in record.parent.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "artifact.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"different numbers of views \(\[2, 3\]\); one bundle"):
        export_artifacts([alone, other], tmp_path / "bundle", ExportPlan(backbone=llava), quiet)


def test_eight_bits_are_refused(place, llava, tmp_path):
    plan = ExportPlan(
        precision="uint8", backbone=llava, calibration=place / "views.json", explanations=False
    )
    with pytest.raises(OptionError, match=r"checks was learned with views: 2, and eight bits"):
        export_artifacts([place / "artifacts/checks"], tmp_path / "bundle", plan, quiet)
