"""One training of IB-IUMAD from its first step to its last, and what it says of test parts."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cad_edge.data.stream import Stream
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.instruments.machine import commit_of
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.reporting.progress import quiet
from cad_edge_studies.rgbd_comparison.judging import ShownParts, judge_run
from cad_edge_studies.rgbd_comparison.task_sequence import Run, stream_of

_RECORD = "judged.json"


def learn_and_judge(
    stream: Stream,
    steps: Sequence[Sequence[str]],
    artifacts: Path,
    options: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    """Learn on the embedded backbone.

    Returns
    -------
    dict
        What `judging.judge_run` says, ``seconds`` that learning took, ``commit`` and
        ``hyperparameters``.
    """
    from cad_edge_training.backbones import DEFAULT_BACKBONE, load_backbone
    from cad_edge_training.train import TrainingPlan, train

    start = time.monotonic()
    train(
        stream,
        artifacts,
        TrainingPlan("ib_iumad", DEFAULT_BACKBONE, None, options, seed),
        lambda _: quiet,
    )
    seconds = time.monotonic() - start
    backbone = load_backbone(DEFAULT_BACKBONE)
    judged = judge_run(artifacts, steps, ShownParts(stream, backbone), backbone)
    conditions = {"commit": commit_of(REPOSITORY), "hyperparameters": hyperparameters(options)}
    return judged | {"seconds": seconds} | conditions


def learn_into(
    folder: Path,
    stream: Stream,
    steps: Sequence[Sequence[str]],
    options: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    """Learn in a folder that `kept` reads.

    One that was interrupted goes on; a whole one is learned anew. Value of `learn_and_judge`.
    """
    if (folder / _RECORD).exists():
        shutil.rmtree(folder)
    judged = learn_and_judge(stream, steps, folder / "artifacts", options, seed)
    replace_file(folder / _RECORD, json.dumps(judged, indent=1).encode("utf-8"))
    return judged


def learn_run(work: Path, run: Run) -> dict[str, Any]:
    """Learn a run on the procedural line, which ``work`` holds or gets; as `learn_into`."""
    stream = stream_of(work / "line", run.steps())
    return learn_into(work / run.name, stream, run.steps(), run.options, run.seed)


def kept(folder: Path, options: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what a folder holds, if it was learned with what these options mean today."""
    record = folder / _RECORD
    if not record.exists():
        return None
    found: dict[str, Any] = json.loads(record.read_text("utf-8"))
    return found if is_of(found, options) else None


def hyperparameters(options: Mapping[str, str]) -> dict[str, Any]:
    """All options that a run learns with, of which ``options`` are not those to start from."""
    from cad_edge_training.backbones import DEFAULT_BACKBONE
    from cad_edge_training.methods.ib_iumad.config import Config, defaults_for

    chosen = Config.model_validate({**defaults_for(DEFAULT_BACKBONE), **options})
    return chosen.model_dump(mode="json")


def is_of(record: Mapping[str, Any], options: Mapping[str, str]) -> bool:
    """Whether a kept record was learned with what these options mean today."""
    return bool(record.get("hyperparameters") == hyperparameters(options))
