"""AnomalyMoE on a DINOv2-B with registers, its weights drawn, beside its bare encoder.

    python -m cad_edge_studies.anomaly_moe_full_size [--work DIR] [--seconds N] [--out FILE]

One product is learned from drawn parts with the paper's sizes and two updates, exported and
measured by `cad-edge benchmark`. One expert of each level is chosen, since of the best three of all
there may be no patch expert, which is the largest. The figures are of time and memory; nothing is
said of defects.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from PIL import Image

from cad_edge_benchmarks.instruments.command_runner import cad_edge
from cad_edge_benchmarks.instruments.subprocess_worker import run_python
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.open_category_study import RESULTS, Study, made_with
from cad_edge_studies.procedural_rgbd_line.scenes import render

ENCODER = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
PATCH, TRAINED_SIDE, REGISTERS = 14, 518, 4
SIDE = 392  # pixels, as the paper looks
PART, GOOD = "gear", 12
MEGABYTE = 1e6


@click.command("anomaly_moe_full_size", cls=Study)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--seconds", type=float, default=60, show_default=True, help="Of a measurement.")
@click.option("--side", type=int, default=SIDE, show_default=True, help="Of the input, in pixels.")
@click.option("--experts", type=int, default=6, show_default=True, help="Of each level.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "anomaly-moe-sizes.json")
@click.option("--work", type=click.Path(path_type=Path), help="Keep model and bundle there.")
def main(
    threads: int, seconds: float, side: int, experts: int, out: Path, work: Path | None
) -> None:
    """Measure time and memory at full size on this machine."""
    with tempfile.TemporaryDirectory() as temporary:
        place = (work or Path(temporary)).absolute()
        click.echo("drawing an encoder, learning and exporting; the first time takes minutes")
        bundle = build(place, ENCODER, side, {"experts": experts})
        click.echo("the product and its bare encoder in turns")
        found = measure(bundle, place, threads, seconds)
    targets = size_targets(found)
    record = {"must_reach": [target.record() for target in targets]}
    asked = {"encoder": ENCODER, "side": side, "experts": experts, "seconds": seconds}
    write_result(out, {**asked, **made_with(threads), **found, **record})
    click.echo(targets_table(targets))


def build(place: Path, encoder: Mapping[str, int], side: int, options: Mapping[str, int]) -> Path:
    """Make in ``place`` what it lacks: encoder, product, artifact and bundle; return the bundle."""
    weights, product = place / "encoder", place / "products" / PART
    if not (weights / "config.json").is_file():
        write_encoder(weights, encoder)
    good = product / "train" / "good"
    good.mkdir(parents=True, exist_ok=True)
    for number in range(GOOD):
        shown = render(PART, (0, number), None, side).rgb
        Image.fromarray(shown).save(good / f"{number:02d}.png")
    backbone, artifacts = ("--backbone", f"dinov2:{weights}"), place / "artifacts"
    chosen = {"steps": 2, "batch": 2, "warm_up": 0, "routing": "per_level"} | dict(options)
    settings = [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
    learning = ("--method", "anomaly_moe", "--size", str(side))
    cad_edge("train", "--stream", product, "--out", artifacts, *backbone, *learning, *settings)
    cad_edge("export", artifacts, "--bundle", place / "bundle", *backbone)
    return place / "bundle"


def write_encoder(folder: Path, encoder: Mapping[str, int]) -> None:
    """Write a DINOv2 with registers of these dimensions as transformers saves it."""
    import torch
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    torch.manual_seed(0)
    config = Dinov2WithRegistersConfig(
        **encoder, image_size=TRAINED_SIDE, patch_size=PATCH, num_register_tokens=REGISTERS
    )
    Dinov2WithRegistersModel(config).save_pretrained(folder)


def measure(bundle: Path, place: Path, threads: int, seconds: float) -> dict[str, Any]:
    """Ratios of time, and what is resident with the product and with the encoder alone."""
    report = place / "benchmark.json"
    options = ("--scenario", "backbone", "--threads", str(threads), "--seconds", str(seconds))
    cad_edge("benchmark", bundle, *options, "--out", report)
    found = json.loads(report.read_text("utf-8"))
    (scenario,) = found["scenarios"]
    module = "cad_edge_studies.anomaly_moe_full_size.encoder_memory"
    alone = run_python("the bare encoder", "-m", module, bundle, place / "bare", threads)
    return {
        "figures": {one["name"]: one["value"] for one in scenario["figures"]},
        "resident_bytes": found["memory"]["rss"]["median"],
        "encoder_resident_bytes": int(alone),
    }


def size_targets(found: Mapping[str, Any]) -> list[Target]:
    """Rows of "must reach" at full size."""
    given = found["figures"]["task given / backbone alone, median"]
    more = (found["resident_bytes"] - found["encoder_resident_bytes"]) / MEGABYTE
    return [
        Target("frame, product given, to the bare encoder", "at most", 1.75, given, "x"),
        Target("resident beyond the encoder", "at most", 300, more, "MB"),
    ]


if __name__ == "__main__":
    main()
