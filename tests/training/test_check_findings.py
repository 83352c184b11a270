"""What is wrong with files, formats, masks, light and numbers of parts, and how it is said."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

import os
from pathlib import Path

from PIL import Image

from cad_edge.data.image import ImageRecipe
from cad_edge_training.check.evidence import evidence_findings, supported_rate
from cad_edge_training.check.exposure import exposure_findings, taken, trend
from cad_edge_training.check.files import DecodedImage, ImageSource, UnreadableImage, decode_images
from cad_edge_training.check.findings import Finding, gravest_first, summary_lines
from cad_edge_training.check.formats import format_findings, unreadable_findings
from cad_edge_training.check.masks import mask_findings
from tests.training.check_samples import surface, write

RECIPE = ImageRecipe(width=64, height=64)


def look(paths, label="good", masks=None):
    sources = [
        ImageSource(path, label == "good", label, number, (masks or {}).get(path))
        for number, path in enumerate(paths)
    ]
    return decode_images(sources, RECIPE, lambda done: None)


def grey(folder: Path, levels, side: int = 32) -> list[DecodedImage]:
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 6, (side, side, 1))
    pictures = [
        np.clip(level + np.repeat(noise, 3, 2), 0, 255).astype(np.uint8) for level in levels
    ]
    return look(write(folder, pictures))


def test_files_that_give_no_image_are_named_with_their_reason(rng, tmp_path):
    paths = write(tmp_path, [surface(rng) for _ in range(4)])
    paths[0].write_bytes(paths[0].read_bytes()[:900])
    paths[1].write_text("no image")
    paths[2].unlink()
    looked = look(paths)
    unread = [one for one in looked if isinstance(one, UnreadableImage)]
    assert [one.source.path for one in unread] == paths[:3]
    assert unread[2].reason == "does not exist; check the path"
    (found,) = unreadable_findings("plate", tmp_path, unread)
    assert found.level == "error"
    assert found.said.startswith("3 files give no image: 000.png cannot be read (it is truncated")
    assert found.said.endswith("; and 2 more")
    assert unreadable_findings("plate", tmp_path, []) == []


def test_kinds_of_pixels_and_sizes(rng, tmp_path):
    pixels = surface(rng, side=64)
    paths = write(tmp_path, [pixels] * 5)
    Image.fromarray(pixels[:, :, 0]).save(paths[1])
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save(paths[2])
    Image.fromarray(np.dstack([pixels, pixels[:, :, 0]])).save(paths[3])
    Image.fromarray(pixels[:40]).save(paths[4])
    found = {one.kind: one for one in format_findings("plate", tmp_path, look(paths))}
    assert set(found) == {"modes", "sizes"}
    assert "most images are colour, but 1 grey, 1 grey 16 bit, 1 colour with alpha" in (
        found["modes"].said
    )
    assert found["sizes"].said == (
        "1 of 5 images is not 64x64 px (004.png); 1 of another shape, which the network's input "
        "stretches"
    )
    assert found["sizes"].level == "warning"


def test_another_size_of_the_same_shape_is_a_note(rng, tmp_path):
    paths = write(tmp_path, [surface(rng, side=side) for side in (64, 64, 128)])
    (found,) = format_findings("plate", tmp_path, look(paths))
    assert (found.kind, found.level) == ("sizes", "note")


def test_sizes_without_a_common_one(rng, tmp_path):
    paths = write(tmp_path, [surface(rng, side=60)[: 40 + number] for number in range(5)])
    (found,) = format_findings("plate", tmp_path, look(paths))
    assert found.said.startswith("images have 5 sizes, from 60x40 to 60x44 px; 4 of another shape")


def test_pictures_that_show_nothing(rng, tmp_path):
    paths = write(tmp_path, [surface(rng, side=64), np.full((64, 64, 3), 7, np.uint8)])
    (found,) = format_findings("plate", tmp_path, look(paths))
    assert (found.kind, found.exhibits[0].said) == ("blank", "everywhere 7")


def masked(folder: Path, rng, mask: np.ndarray | None) -> list[DecodedImage]:
    """Two defective images: one with a sound mask, and one with ``mask``."""
    images = write(folder / "test", [surface(rng, side=64) for _ in range(2)])
    sound = np.zeros((64, 64), np.uint8)
    sound[10:20, 10:20] = 255
    masks = dict(zip(images, write(folder / "masks", [sound, sound]), strict=True))
    if mask is None:
        del masks[images[1]]
    else:
        Image.fromarray(mask).save(masks[images[1]])
    return look(images, "scratch", masks)


@pytest.mark.parametrize(
    ("mask", "level", "said"),
    [
        (
            np.zeros((64, 64), np.uint8),
            "error",
            "1 mask cannot be used: masks/001.png: it is empty",
        ),
        (
            np.full((32, 64), 255, np.uint8),
            "error",
            "1 mask cannot be used: masks/001.png: it is 64x32 px and its image 64x64 px",
        ),
        (
            np.full((64, 64), 255, np.uint8),
            "warning",
            "1 mask may be inverted: masks/001.png: it marks 100 % of its image",
        ),
        (
            np.pad(np.zeros((8, 8), np.uint8), ((20, 36), (30, 26)), constant_values=255),
            "error",
            "1 mask cannot be used: masks/001.png: it marks 98.4 % of its image and spares a "
            "piece, as an inverted mask does; make the defect white and all else black, "
            "or mark the whole image",
        ),
        (
            None,
            "warning",
            "1 of 2 defective test images have no mask (test/001.png); they count in image scores "
            "alone",
        ),
    ],
)
def test_masks(rng, tmp_path, mask, level, said):
    (found,) = mask_findings("plate", tmp_path, masked(tmp_path, rng, mask))
    assert (found.level, found.said) == (level, said)


def test_a_mask_that_cannot_be_read(rng, tmp_path):
    seen = masked(tmp_path, rng, np.zeros((64, 64), np.uint8))
    seen[1].source.mask.write_text("no image")
    (found,) = mask_findings("plate", tmp_path, seen)
    assert "masks/001.png: cannot be read" in found.said


def test_a_folder_of_masks(rng, tmp_path):
    seen = masked(tmp_path, rng, np.eye(64, dtype=np.uint8))
    mask = seen[1].source.mask
    several = mask.with_suffix("")
    several.mkdir()
    mask.rename(several / "0.png")
    (several / "1.png").touch()
    source = replace(seen[1].source, mask=several)
    (found,) = mask_findings("plate", tmp_path, [seen[0], replace(seen[1], source=source)])
    assert found.said.startswith("1 mask cannot be used: masks/001/0.png: ")
    assert "001/1.png cannot be read" in found.said
    (several / "1.png").unlink()
    assert mask_findings("plate", tmp_path, [seen[0], replace(seen[1], source=source)]) == []


def test_products_without_masks_lack_none(rng, tmp_path):
    images = write(tmp_path, [surface(rng, side=64) for _ in range(2)])
    assert mask_findings("plate", tmp_path, look(images, "scratch")) == []


def test_light_that_drifts_is_measured_in_grey_levels(rng, tmp_path):
    levels = np.linspace(110, 130, 30) + rng.normal(0, 2, 30)
    (found,) = exposure_findings("plate", grey(tmp_path, levels))
    assert found.said.startswith("brightness rises by ")
    assert 16 < found.exhibits[0].figures["mean_change"] < 24
    assert len(found.exhibits[0].images) == 5


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_drift(tmp_path, seed):
    levels = 120 + np.random.default_rng(seed).normal(0, 12, 60)
    assert exposure_findings("plate", grey(tmp_path, levels)) == []


def test_a_certain_drift_that_is_faint_is_none(tmp_path):
    assert exposure_findings("plate", grey(tmp_path, np.linspace(120, 123, 60))) == []


def test_images_of_a_group_share_their_light(tmp_path):
    """Four photographs, each darker than the one before, are four values and no trend."""
    seen = grey(tmp_path, np.repeat([140, 130, 120, 110], 8))
    groups = np.repeat(list("abcd"), 8).tolist()
    assert exposure_findings("plate", seen) != []
    assert exposure_findings("plate", seen, groups) == []


def test_drift_over_the_time_of_files(tmp_path, rng):
    order = rng.permutation(30)
    levels = np.linspace(100, 140, 30)
    seen = grey(tmp_path, levels[order])
    assert exposure_findings("plate", seen) == []
    for one, place in zip(seen, order, strict=True):
        os.utime(one.source.path, (1e9, 1e9 + 60 * place))
    (found,) = exposure_findings("plate", seen)
    assert "grey levels over the time of files" in found.said
    assert found.exhibits[0].images[0] == seen[int(np.argmin(order))].source.path


def test_the_time_that_a_camera_wrote_counts_before_that_of_the_file(tmp_path):
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(paths):
        exif = Image.Exif()
        exif[306] = f"2024:05:01 10:0{9 - 3 * number}:00"
        Image.new("RGB", (16, 16)).save(path, exif=exif)
    assert np.diff(taken(paths)).tolist() == [-180.0, -180.0]
    assert taken(paths[:1]) is None


def test_few_or_equal_values_have_no_trend():
    assert trend([1.0] * 20) is None
    assert trend([1.0, 2.0, 3.0]) is None


@pytest.mark.parametrize(
    ("distinct", "groups", "rate", "said"),
    [
        (19, None, 0.05, None),
        (
            18,
            None,
            0.05,
            "18 different good parts support a false-reject rate of 5.26 %, and 5 % is stated, "
            "which needs 19",
        ),
        (
            40,
            8,
            0.05,
            "8 groups support a false-reject rate of 11.1 %, and 5 % is stated, which needs 19",
        ),
        (0, None, 0.05, None),
    ],
)
def test_how_many_parts_a_rate_needs(distinct, groups, rate, said):
    found = evidence_findings("plate", distinct, groups, rate)
    assert [one.said for one in found] == ([] if said is None else [said])
    assert supported_rate(0) is None


def finding(kind, level, said="said", task="plate") -> Finding:
    return Finding(task=task, kind=kind, level=level, said=said)


def test_the_gravest_come_first_in_at_most_five_lines():
    found = [
        finding("suspects", "note"),
        finding("too_few", "warning"),
        finding("mask", "error"),
        finding("drift", "warning"),
        finding("leak", "error", "one is in training", "lid"),
        finding("copies", "warning"),
        finding("sizes", "warning"),
    ]
    kinds = [one.kind for one in gravest_first(found)]
    assert kinds == ["leak", "mask", "copies", "drift", "sizes", "too_few", "suspects"]
    lines = summary_lines(found)
    assert len(lines) == 5
    assert lines[0] == "error: lid: one is in training"
    assert lines[-1] == "2 more; `cad-edge check` lists and shows them"
    assert len(summary_lines(found, 6)) == 6 and "more" not in summary_lines(found, 6)[-1]
    assert summary_lines(found, 1) == ["6 more; `cad-edge check` lists and shows them"]
    assert summary_lines([finding("suspects", "note")]) == []
