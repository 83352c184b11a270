"""Variants in turns: what may be written, what is compared, and which targets follow."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file

from cad_edge.data.stream import read_stream
from cad_edge.errors import OptionError
from cad_edge_runtime import Detector
from cad_edge_studies.peers.cad_edge_bundles import spread_frames
from cad_edge_studies.precisions.__main__ import precision_targets
from cad_edge_studies.precisions.variants import (
    FRAMES_OF_A_TURN,
    Variant,
    main,
    measure,
    variants_table,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
BUNDLE = GOLDEN / "bundle"


@pytest.fixture
def stream_file(tmp_path) -> Path:
    """Two products of the golden bundle with two good and two bad images each."""
    frames = load_file(GOLDEN / "frames.safetensors")
    for name in ("red", "green"):
        for kind in ("good", "bad"):
            folder = tmp_path / name / "test" / kind
            folder.mkdir(parents=True)
            for index, frame in enumerate(frames[f"{name}.{kind}"]):
                Image.fromarray(frame).save(folder / f"{index}.png")
        (tmp_path / name / "train" / "good").mkdir(parents=True)
        Image.fromarray(frames[f"{name}.good"][0]).save(tmp_path / name / "train/good/0.png")
    tasks = [{"name": name, "path": name} for name in ("red", "green")]
    path = tmp_path / "stream.json"
    path.write_text(json.dumps({"name": "two", "false_reject_rate": 0.1, "tasks": tasks}))
    return path


def test_a_variant_is_a_name_a_bundle_and_a_device():
    assert Variant.parse("a=b/c") == Variant("a", Path("b/c"), "cpu")
    assert Variant.parse("a=b@openvino") == Variant("a", Path("b"), "openvino")
    for text in ("a", "a=", "=b", "a=@cpu"):
        with pytest.raises(OptionError, match="is not a variant"):
            Variant.parse(text)


def test_frames_of_all_products_take_turns(stream_file):
    with Detector.open(BUNDLE, watch=False) as detector:
        recipe = detector.manifest.selector.engine.recipe
        frames = spread_frames(read_stream(stream_file), recipe)
        found = [(name, detector.detect(frame).task) for name, frame in frames]
    assert found == [("red", "red"), ("green", "green")] * 5


def test_measure(stream_file):
    variants = [Variant("one", BUNDLE), Variant("other", BUNDLE)]
    result = measure(variants, read_stream(stream_file), 20, 1)
    one, other = result["variants"].values()
    assert one["to_first"] == 1.0 and one["turns_to_first"]["median"] == 1.0
    assert other["latency"]["samples"] == 20 * FRAMES_OF_A_TURN
    assert other["to_first"] == other["latency"]["p50"] / one["latency"]["p50"]
    assert one["evaluation"] == other["evaluation"]
    assert one["kept_in_float"] == [] and one["device"] == "cpu"
    assert variants_table(result).splitlines()[2].split()[:2] == ["other", "cpu"]


def test_command(stream_file, tmp_path):
    out = tmp_path / "result.json"
    arguments = ["--stream", str(stream_file), "--rounds", "20", "--out", str(out)]
    done = CliRunner().invoke(main, [f"a={BUNDLE}", *arguments])
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["rounds"] == 20
    twice = CliRunner().invoke(main, [f"a={BUNDLE}", f"a={BUNDLE}", *arguments])
    assert twice.exit_code == 1 and "two variants have one name" in twice.output


def variant(p50: float, auroc: float | None) -> dict[str, object]:
    return {"to_first": p50 / 3.0, "evaluation": {"mean": {"image_auroc": auroc}}}


def test_targets_compare_with_the_first():
    rows = {"fp32": variant(3.0, 0.95), "uint8": variant(2.0, 0.946), "int8": variant(4.0, None)}
    faster, lost, slower, undefined = precision_targets({"variants": rows})
    assert faster.value == pytest.approx(1.5) and faster.reached
    assert lost.value == pytest.approx(0.004) and lost.reached
    assert slower.value == pytest.approx(0.75) and not slower.reached
    assert undefined.reached is None
    assert np.isfinite(lost.limit)
