"""The size of a product: what detail is lost, which size is chosen, and what is said of it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cad_edge.data.image import ImageRecipe
from cad_edge.data.stream import read_stream
from cad_edge.errors import ArtifactError, OptionError
from cad_edge.schema import canonical_json
from cad_edge.store.artifact import Artifact, read_artifact, read_record
from cad_edge_training.backbones import load_backbone
from cad_edge_training.input_size import (
    AUTO,
    InputSizes,
    choose_size,
    detail_loss,
    input_sizes,
    median_losses,
    trunk_ms,
)
from cad_edge_training.train import TrainingPlan, train
from tests.training.small_products import LITE0, NAMES, SMALL, learn, quiet, write_stream
from tests.training.tiny_models import save_dinov2


def checkerboard(side: int, cell: int = 1) -> np.ndarray:
    """Black and white cells, (side, side, 3) uint8."""
    rows, columns = np.indices((side, side)) // cell
    return np.repeat(((rows + columns) % 2 * 255)[..., None], 3, axis=2).astype(np.uint8)


def gradient(side: int) -> np.ndarray:
    """From black on the left to white on the right, (side, side, 3) uint8."""
    row = np.linspace(0, 255, side).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (side, side, 3)).copy()


@pytest.fixture(scope="module")
def lite0():
    return load_backbone(LITE0)


class _Config:
    last_block = 4


def test_smooth_frame_keeps_its_detail_and_a_fine_one_loses_it():
    assert detail_loss(gradient(448), 224) < 1
    assert detail_loss(checkerboard(448), 224) > 100
    assert detail_loss(checkerboard(448, cell=64), 224) < detail_loss(checkerboard(448, 8), 224)


def test_stripes_of_one_column_worked_by_hand():
    """A frame of one value has nothing to lose.

    Columns that alternate between 0 and 254 become 127 all over but for the borders, so that each
    pixel is off by 127 once the frame is brought back.
    """
    assert detail_loss(np.full((40, 32, 3), 77, dtype=np.uint8), 16) == 0
    columns = np.where(np.arange(256) % 2, 254, 0).astype(np.uint8)
    frame = np.broadcast_to(columns[None, :, None], (16, 256, 3)).copy()
    assert detail_loss(frame, 128) == pytest.approx(127, abs=0.5)


def test_luminance_weighs_the_channels():
    """Stripes of pure green lose 0.587 of what white ones do."""
    white = np.where(np.arange(256) % 2, 254, 0).astype(np.uint8)
    frame = np.zeros((16, 256, 3), dtype=np.uint8)
    frame[..., 1] = white
    assert detail_loss(frame, 128) == pytest.approx(0.587 * 127, abs=0.5)


def test_frame_that_is_no_larger_loses_nothing():
    assert detail_loss(checkerboard(64), 64) == 0
    assert detail_loss(checkerboard(64), 224) == 0
    long = np.concatenate([checkerboard(64)] * 4, axis=1)
    assert detail_loss(long, 224) > 0


def test_smallest_size_that_keeps_the_detail_else_the_largest():
    assert choose_size({224: 8.0, 288: 5.0}) == 224
    assert choose_size({224: 8.1, 288: 5.0}) == 288
    assert choose_size({224: 12.7, 288: 9.4}) == 288
    assert choose_size({288: 9.4}) == 288


def test_median_over_parts_that_lie_evenly_spread(tmp_path):
    frames = [checkerboard(64)] * 8 + [gradient(64)] * 32
    paths = []
    for number, frame in enumerate(frames):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(frame).save(paths[-1])
    assert median_losses(paths, [32, 48])[32] < 8
    assert median_losses(paths[:9], [32])[32] > 8


def product(folder, name, frames):
    """Write a stream of one product; return its task."""
    place = folder / name / "train/good"
    place.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(place / f"{number}.png")
    tasks = [{"name": name, "path": name}]
    text = json.dumps({"name": "line", "false_reject_rate": 0.1, "tasks": tasks})
    (folder / "stream.json").write_text(text)
    return read_stream(folder / "stream.json").tasks[0]


def test_line_says_what_was_chosen_and_why(tmp_path, lite0):
    sizes = input_sizes("patch_memory", lite0, _Config(), None)
    assert sorted(sizes.backbones) == [224, 288]
    backbone, line = sizes.choose(product(tmp_path / "a", "pcb", [checkerboard(448)] * 3))
    assert backbone.recipe.width == 288
    assert line.startswith("pcb: 288 px, since 224 px loses 1") and "(288 px: 1" in line
    backbone, line = sizes.choose(product(tmp_path / "b", "plate", [gradient(448)] * 3))
    assert backbone is lite0 and line.startswith("plate: 224 px, which loses 0.")
    dear = InputSizes({224: lite0}, {288: 31.4})
    _, line = dear.choose(product(tmp_path / "c", "pcb", [checkerboard(448)] * 3))
    assert line.endswith("; the trunk takes 31 ms at 288 px, more than --budget-ms")


def test_same_trunk_at_another_size_shares_its_weights(lite0):
    other, loaded = lite0.at_size(288), load_backbone(LITE0, 288)
    assert other.recipe == loaded.recipe == ImageRecipe(width=288, height=288)
    assert lite0.recipe.width == 224 and other.identity == lite0.identity
    mine = {one.data_ptr() for one in lite0.parameters()}
    assert {one.data_ptr() for one in other.parameters()} == mine
    image = torch.full((1, 288, 288, 3), 90, dtype=torch.uint8)
    with torch.inference_mode():
        one, two = (each.run(each.normalise(image), 4)[4] for each in (other, loaded))
    assert torch.equal(one, two)


def test_budget_leaves_out_what_takes_longer(monkeypatch, lite0):
    taken = {224: 10.0, 288: 17.0}
    monkeypatch.setattr(
        "cad_edge_training.input_size.trunk_ms", lambda backbone, _: taken[backbone.recipe.width]
    )
    assert sorted(input_sizes("patch_memory", lite0, _Config(), 17).backbones) == [224, 288]
    some = input_sizes("patch_memory", lite0, _Config(), 12)
    assert sorted(some.backbones) == [224] and some.too_slow == {288: 17.0}
    with pytest.raises(OptionError, match="at 224 px, the smallest, the trunk takes 10"):
        input_sizes("patch_memory", lite0, _Config(), 9)


def test_time_of_the_trunk_is_that_of_a_frame(lite0):
    assert 0 < trunk_ms(lite0, 0) < trunk_ms(lite0, 10)


def test_refused_where_the_backbone_has_one_size(tmp_path):
    tiny = load_backbone(f"dinov2:{save_dinov2(tmp_path / 'tiny', side=56)}", 56)
    with pytest.raises(OptionError, match="cannot take another input size for each product"):
        input_sizes("patch_memory", tiny, _Config(), None)


@pytest.mark.parametrize("method", ["cl_anomaly", "ib_iumad"])
def test_refused_where_products_share_a_network(method, lite0):
    with pytest.raises(OptionError, match=f"the products of {method} share one network"):
        input_sizes(method, lite0, _Config(), None)


def test_budget_without_auto_is_refused():
    for size in (None, 224):
        with pytest.raises(OptionError, match="--budget-ms chooses among the input sizes of"):
            TrainingPlan("patch_memory", LITE0, size, {}, 0, budget_ms=20)


def test_record_without_another_size_is_written_as_before(tmp_path):
    stream = write_stream(tmp_path, NAMES[:1])
    learn(stream, tmp_path / "out", SMALL)
    record = read_record(tmp_path / "out" / NAMES[0])
    assert record.routing_recipe is None and record.recognised_at == record.recipe
    assert b"routing_recipe" not in (tmp_path / "out" / NAMES[0] / "artifact.json").read_bytes()
    other = record.model_copy(update={"routing_recipe": ImageRecipe(width=32, height=32)})
    again = Artifact.model_validate_json(canonical_json(other))
    assert again.recognised_at.width == 32


def test_products_learned_at_their_sizes_are_described_at_one(tmp_path):
    """What is recognised must not depend on the size at which defects are found."""
    rng = np.random.default_rng(4)
    noise = [rng.integers(0, 256, (300, 300, 3), dtype=np.uint8) for _ in range(8)]
    product(tmp_path, "grain", noise)
    stream = read_stream(tmp_path / "stream.json")
    said: list[str] = []
    plan = TrainingPlan("patch_memory", LITE0, AUTO, SMALL, 0)
    assert train(stream, tmp_path / "auto", plan, lambda name: quiet, said.append) == ["grain"]
    assert said[0].startswith("grain: 288 px, since 224 px loses ")
    assert said[1:] == ["grain: learned from 8 good parts"]
    learn(stream, tmp_path / "given", SMALL, size=None)
    auto, given = (read_artifact(tmp_path / one / "grain") for one in ("auto", "given"))
    assert auto.artifact.recipe.width == 288 and auto.artifact.recognised_at.width == 224
    assert auto.artifact.routing_recipe == given.artifact.recipe
    assert auto.witness["image"].shape[1:3] == (288, 288)
    assert {name: value.tobytes() for name, value in auto.routing.items()} == {
        name: value.tobytes() for name, value in given.routing.items()
    }
    assert train(stream, tmp_path / "auto", plan, lambda name: quiet, said.append) == []
    with pytest.raises(ArtifactError, match="grain is recognised at 224x224 px, not at 64x64 px"):
        learn(stream, tmp_path / "auto", SMALL)
