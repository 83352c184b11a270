"""Exported engines with depth: agreement with torch, time of a frame, memory, and going back.

    python -m cad_edge_studies.rgbd_comparison.engines [--work DIR] [--rounds N]

Takes what `cad_edge_studies.rgbd_comparison` learned with seed 0, ten products together and step by
step, and learns what ``--work`` lacks of it. For what depends on sizes alone it learns
more, in one pass each: a model for every product, which memory is compared with, and one product on
an EfficientNet-B4 with random weights. Everything is exported anew.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cad_edge.data.stream import Stream
from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.command_runner import cad_edge, export, folder_bytes
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.reporting.progress import quiet
from cad_edge_benchmarks.reporting.tables import text_table, write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_runtime import Detector
from cad_edge_studies.rgbd_comparison.agreement import agreement
from cad_edge_studies.rgbd_comparison.device_process import growth
from cad_edge_studies.rgbd_comparison.efficientnet_b4 import write_b4
from cad_edge_studies.rgbd_comparison.frame_time import measure_frame
from cad_edge_studies.rgbd_comparison.learning import kept, learn_run
from cad_edge_studies.rgbd_comparison.task_sequence import (
    JOINT,
    LONGEST,
    MODALITIES,
    OURS,
    Run,
    stream_of,
)

RESULT = REPOSITORY / "docs" / "results" / "ib-iumad-engines.json"
LITE0, B4, B4_SMALL = "efficientnet-lite0", "efficientnet-b4", "efficientnet-b4, small network"
"""Frames that are timed; a small network is that which the embedded backbone starts from."""
_SEED = 0
_SHOWN = 12  # lines of a profile


@click.command("engines")
@click.option("--work", type=click.Path(path_type=Path), default=Path("out/rgbd"))
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(min=20), default=200, show_default=True)
def main(work: Path, out: Path, threads: int, rounds: int) -> None:
    """Measure exported engines."""
    import torch

    torch.set_num_threads(threads)
    try:
        result = measure(work, threads, rounds)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    reached = targets(result)
    conditions = {
        "machine": describe_machine(),
        "versions": versions(),
        "commit": commit_of(REPOSITORY),
        "threads": threads,
        "rounds": rounds,
        "must_reach": [target.record() for target in reached],
    }
    write_result(out, conditions | result)
    for name, frame in result["frames"].items():
        click.echo(f"{name}: {frame_line(frame)}")
    click.echo(f"\n{targets_table(reached)}")


def measure(work: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Measure all there is."""
    place = work / "engines"
    shutil.rmtree(place, ignore_errors=True)
    joint = Run(OURS, JOINT, "rgbd", _SEED)
    stream = stream_of(work / "line", joint.steps())
    bundles = {}
    for modality in MODALITIES:
        bundles[modality] = place / f"ten-{modality}"
        _export(_learned(work, Run(OURS, JOINT, modality, _SEED)), bundles[modality], place)
    frames = {
        LITE0: asdict(
            measure_frame(
                bundles["rgbd"],
                _learned(work, joint)[0],
                place / "lite0-trunk",
                threads,
                rounds,
                None,
            )
        ),
    } | _frames_of_b4(place, stream, threads, rounds)
    return {
        "agreement": _agreements(work, bundles, stream, threads),
        "frames": frames,
        "memory": _memory(place, bundles["rgbd"], stream, threads),
        "rollback": _rollback(work, place, threads),
    }


def _learned(work: Path, run: Run) -> list[Path]:
    """Artifacts of a run in learning order; it is learned if ``work`` does not hold it."""
    folder = work / run.name
    if kept(folder, run.options) is None:
        click.echo(f"learning {run.name}", err=True)
        learn_run(work, run)
    return [folder / "artifacts" / name for step in run.steps() for name in step]


def _export(
    artifacts: Sequence[Path], bundle: Path, place: Path, backbone: str | None = None
) -> None:
    click.echo(f"exporting {bundle.name}", err=True)
    export(artifacts, bundle, place / "staging", backbone=backbone)


def _agreements(
    work: Path, bundles: Mapping[str, Path], stream: Stream, threads: int
) -> dict[str, dict[str, Any]]:
    from cad_edge_training.backbones import DEFAULT_BACKBONE, load_backbone

    backbone = load_backbone(DEFAULT_BACKBONE)
    found = {}
    for modality, bundle in bundles.items():
        click.echo(f"showing every test part to torch and to {bundle.name}", err=True)
        artifacts = work / Run(OURS, JOINT, modality, _SEED).name / "artifacts"
        found[modality] = asdict(agreement(bundle, artifacts, stream, backbone, threads))
    return found


def _frames_of_b4(place: Path, stream: Stream, threads: int, rounds: int) -> dict[str, Any]:
    """Frames with the paper's network, and with the one that the embedded backbone starts from."""
    from cad_edge_training.backbones import DEFAULT_BACKBONE
    from cad_edge_training.methods.ib_iumad.config import defaults_for

    weights = f"efficientnet:{write_b4(place / 'efficientnet-b4')}"
    one = stream.model_copy(update={"tasks": stream.tasks[:1], "steps": []})
    small = {name: str(value) for name, value in defaults_for(DEFAULT_BACKBONE).items()}
    found = {}
    for name, options in ((B4, {}), (B4_SMALL, small)):
        folder = name.replace(", ", "-").replace(" ", "-")
        learned = _learn_quickly(one, place / f"{folder}-artifacts", weights, options)
        _export(learned, place / folder, place, weights)
        times = measure_frame(
            place / folder, learned[0], place / "b4-trunk", threads, rounds, weights
        )
        found[name] = asdict(times)
    return found


def _learn_quickly(
    stream: Stream, artifacts: Path, backbone: str, options: Mapping[str, str]
) -> list[Path]:
    """Learn in one pass what nobody will judge by."""
    from cad_edge_training.train import TrainingPlan, train

    click.echo(f"learning {artifacts.name}", err=True)
    plan = TrainingPlan("ib_iumad", backbone, None, {**options, "epochs": "1"}, _SEED)
    train(stream, artifacts, plan, lambda _: quiet)
    return [artifacts / task.name for task in stream.tasks]


def _memory(place: Path, ten: Path, stream: Stream, threads: int) -> dict[str, Any]:
    """One bundle for all products beside a bundle for each, opened in one process.

    Growth is that since modules were loaded, for the bundle of all, for one of a product alone and
    for those of all products alone.
    """
    from cad_edge_training.backbones import DEFAULT_BACKBONE

    single = []
    for task in stream.tasks:
        alone = stream.model_copy(update={"tasks": [task], "steps": []})
        learned = _learn_quickly(alone, place / f"alone-{task.name}", DEFAULT_BACKBONE, {})
        bundle = place / f"only-{task.name}"
        _export(learned, bundle, place)
        single.append(bundle)
    grown, whole = growth([ten], threads)
    grown_one, _ = growth(single[:1], threads)
    grown_single, whole_single = growth(single, threads)
    return {
        "tasks": len(single),
        "grown_bytes": grown,
        "grown_bytes_one": grown_one,
        "grown_bytes_single": grown_single,
        "process_bytes": whole,
        "process_bytes_single": whole_single,
        "disk_bytes": folder_bytes(ten),
        "disk_bytes_single": sum(folder_bytes(one) for one in single),
    }


def _rollback(work: Path, place: Path, threads: int) -> dict[str, Any]:
    """Export the last two steps, go back by one command, and compare scores bit by bit."""
    run = Run(OURS, LONGEST, "rgbd", _SEED)
    learned, bundle = _learned(work, run), place / "stepwise"
    stream = stream_of(work / "line", run.steps())
    scores = []
    for count in (len(learned) - len(run.steps()[-1]), len(learned)):
        export(learned[:count], bundle, place / "staging")
        scores.append(_scores(bundle, stream, threads))
    cad_edge("rollback", bundle)
    back = _scores(bundle, stream, threads)
    return {
        "frames": len(back),
        "equal_to_before": back == scores[0],
        "equal_to_newest": back == scores[1],
    }


def _scores(bundle: Path, stream: Stream, threads: int) -> list[float | None]:
    """Scores of every test part of the first product."""
    task = stream.tasks[0]
    with Detector.open(bundle, device="cpu", threads=threads, watch=False) as detector:
        return [
            detector.detect(item.path, task=task.name, depth=item.depth).score
            for item in task.images().test
        ]


def targets(result: Mapping[str, Any]) -> list[Target]:
    """Rows of "must reach" that this answers."""
    found = []
    for modality, one in result["agreement"].items():
        worst = max(one["score_max"], one["map_max"])
        found.append(Target(f"exported against torch, {modality}", "at most", 1e-4, worst))
        found.append(Target(f"label flips, {modality}", "at most", 0, one["flips"]))
    ratios = {name: one["ratio"]["median"] for name, one in result["frames"].items()}
    back = result["rollback"]
    return [
        *found,
        Target("frame with B4 to two bare passes", "at most", 2.0, ratios[B4], "x"),
        *_memory_targets(result["memory"]),
        Target(
            "scores that differ after going back",
            "at most",
            0,
            float(not back["equal_to_before"] or back["equal_to_newest"]),
        ),
    ]


def _memory_targets(memory: Mapping[str, Any]) -> list[Target]:
    """Memory of models, without and with what the runtime takes whatever it opens."""
    grown, every = memory["grown_bytes"], memory["grown_bytes_single"]
    each = (every - memory["grown_bytes_one"]) / (memory["tasks"] - 1)
    runtime = memory["grown_bytes_one"] - each
    named = f"memory to that of {memory['tasks']} models"
    return [
        Target(named, "at most", 1 / 8, (grown - runtime) / (every - runtime), "x"),
        Target(f"{named}, the runtime's own included", "at most", 1 / 8, grown / every, "x"),
        Target(
            f"{named}, on the disk",
            "at most",
            1 / 8,
            memory["disk_bytes"] / memory["disk_bytes_single"],
            "x",
        ),
    ]


def frame_line(frame: Mapping[str, Any]) -> str:
    """Say how long a frame takes, and where the time goes."""
    ratio, operators = frame["ratio"], frame["operators_ms"]
    rows = [[name, f"{value:.2f}"] for name, value in list(operators.items())[:_SHOWN]]
    return (
        f"{frame['frame']['p50']:.1f} ms, two bare passes {frame['passes']['p50']:.1f} ms, ratio "
        f"{ratio['median']:.2f} (quartiles {ratio['lower_quartile']:.2f} to "
        f"{ratio['upper_quartile']:.2f}); "
        f"{'recognised' if frame['routed'] else 'product given'}, {frame['verdict']}; "
        f"{frame['multiplications'] / 1e9:.2f} G multiplications in products of matrices\n"
        f"{text_table(['stage, operator', 'ms'], rows)}\n"
    )


if __name__ == "__main__":
    main()
