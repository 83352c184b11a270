"""Fifteen parts are fifteen, however often each was saved: the same answers, rates and support."""

import json

import numpy as np
import pytest
import torch

from cad_edge.calibration import decide
from cad_edge.routing import from_tensors
from cad_edge.store.artifact import read_artifact, read_record
from cad_edge_training import learn
from cad_edge_training.backbones import load_backbone
from cad_edge_training.division import divide
from cad_edge_training.methods import load_method, saved_config
from cad_edge_training.train import train
from tests.training.copied_products import PARTS, SIDE, shown, write_parts
from tests.training.rgbd_products import quick_plan, rgbd_stream
from tests.training.small_products import LITE0, quiet

RATE = 0.05
SETTINGS = {"patch_memory": {"memories": "7+10x24,4x24", "keys": "24"}, "padim": {}}
CHANGED = ("encoded", "next frame", "brighter frame")


def learned(folder, method, *copies, rate=RATE):
    write_parts(folder / "plate", *copies)
    return learn(
        folder / "plate",
        folder / "out",
        method,
        size=SIDE,
        settings=SETTINGS[method],
        false_reject_rate=rate,
    )


def judged(folder, method) -> tuple[float, float]:
    """AUROC and rate of false rejects on new parts."""
    task = read_artifact(folder / "out/plate")
    config = saved_config("plate", method, task.artifact.hyperparameters)
    model = load_method(method).build_model(load_backbone(LITE0, SIDE), config, task.tensors)
    with torch.inference_mode():
        good, bad = (model(torch.from_numpy(images))[0].numpy() for images in shown())
    threshold = decide(task.artifact.calibration, RATE).threshold
    return float((bad[:, None] > good[None]).mean()), float((good > threshold).mean())


@pytest.fixture(scope="module", params=SETTINGS)
def once(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("once")
    result = learned(folder, request.param)
    assert result.notes[-1] == "plate: learned from 15 good parts"
    return request.param, folder


def test_equal_pictures_change_nothing(once, tmp_path):
    method, before = once
    result = learned(tmp_path, method, "exact")
    one, twice = (read_artifact(folder / "out/plate") for folder in (before, tmp_path))
    for part in ("tensors", "routing", "witness"):
        first, second = getattr(one, part), getattr(twice, part)
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[name], second[name]) for name in first)
    assert twice.artifact.calibration.scores == one.artifact.calibration.scores
    assert twice.artifact.provenance.data_sha256 == one.artifact.provenance.data_sha256
    assert not decide(twice.artifact.calibration, RATE).supported  # 15 of the 19 it needs
    assert result.notes[-1] == (
        "plate: learned from 15 good parts; 15 of 30 pictures are copies of another "
        "(train/good/00.png = train/good/00-0.png, train/good/01.png = train/good/01-0.png, "
        "train/good/02.png = train/good/02-0.png and 12 more)"
    )


@pytest.mark.parametrize("change", CHANGED)
def test_near_copies_stay_in_one_fold_and_count_once(once, tmp_path, change):
    method, before = once
    if method == "padim" and change != "next frame":
        pytest.skip("how copies are found does not depend on the method")
    result = learned(tmp_path, method, change)
    record = read_record(tmp_path / "out/plate")
    decision = decide(record.calibration, RATE)
    assert (decision.images, decision.groups) == (30, PARTS) and not decision.supported
    assert decide(record.calibration, 1 / 16).supported
    assert any("15 of 30 pictures are copies" in line for line in result.notes)
    counts = from_tensors(read_artifact(tmp_path / "out/plate").routing).group_counts
    assert counts is not None and set(counts) == {2}
    auroc, rejected = judged(tmp_path, method)
    assert auroc == pytest.approx(judged(before, method)[0], abs=0.02)
    assert rejected <= 3 * RATE


def test_copies_of_several_kinds_at_once(tmp_path):
    method = "patch_memory"
    learned(tmp_path, method, "exact", *CHANGED)
    record = read_record(tmp_path / "out/plate")
    assert record.provenance.images == 60  # of 75, equal ones once
    assert record.calibration.groups == PARTS
    assert judged(tmp_path, method)[1] <= 3 * RATE


def test_stated_groups_that_share_a_part_are_one(tmp_path):
    """Batches of five parts, and a frame of the first batch that was saved in the second."""
    write_parts(tmp_path / "plate", "next frame")
    names = [f"{number:02d}{end}.png" for number in range(PARTS) for end in ("", "-0")]
    rows = [f"train/good/{name},{int(name[:2]) // 5}" for name in names]
    rows[1] = "train/good/00-0.png,1"
    (tmp_path / "groups.csv").write_text("\n".join(["file,group", *rows]))
    task = {"name": "plate", "path": "plate", "group": {"table": "groups.csv"}}
    record = {"name": "line", "false_reject_rate": 0.2, "tasks": [task]}
    (tmp_path / "line.json").write_text(json.dumps(record))
    learn(tmp_path / "line.json", tmp_path / "out", size=SIDE, settings=SETTINGS["patch_memory"])
    assert read_record(tmp_path / "out/plate").calibration.groups == 2


def copied_with_depth(folder, change):
    """Save each of eight gears once more, with depth that `change` makes of its depth."""
    stream = rgbd_stream(folder, (("gear",),))
    for path in sorted((folder / "gear/train/good").rglob("00?.*")):
        copy = path.with_name(f"1{path.name[1:]}")
        copy.write_bytes(path.read_bytes())
        if path.parent.name != "rgb":
            change(copy)
    return stream


def test_depth_tells_parts_apart_that_look_the_same(tmp_path):
    """Pictures are equal, and depth belongs to another part: sixteen parts."""

    def of_the_next(copy):
        other = copy.with_name(f"00{(int(copy.stem[-1]) + 1) % 8}{copy.suffix}")
        copy.write_bytes(other.read_bytes())

    stream = copied_with_depth(tmp_path, of_the_next)
    train(stream, tmp_path / "out", quick_plan(), lambda name: quiet)
    assert read_record(tmp_path / "out/gear").provenance.images == 16


def test_equal_pictures_with_equal_depth_are_learned_once(tmp_path):
    stream = copied_with_depth(tmp_path, lambda copy: None)
    train(stream, tmp_path / "out", quick_plan(), lambda name: quiet)
    assert read_record(tmp_path / "out/gear").provenance.images == 8


def test_a_network_of_all_products_holds_copies_out_together(tmp_path):
    write_parts(tmp_path / "plate", "next frame")
    plan = quick_plan()
    options = {**plan.options, "modality": "rgb"}
    learn(tmp_path / "plate", tmp_path / "out", plan.method, size=64, settings=options)
    calibration = read_record(tmp_path / "out/plate").calibration
    names = tuple(f"train/good/{number:02d}-0.png" for number in range(PARTS) for _ in "ab")
    division = divide(30, RATE, 0, "plate", names)
    assert calibration.groups == division.groups
    assert len(calibration.scores) == 2 * division.groups
