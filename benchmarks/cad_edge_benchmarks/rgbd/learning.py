"""One training of IB-IUMAD from its first step to its last, and what it says of test parts."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cad_edge.stream import Stream
from cad_edge_benchmarks.rgbd.judging import ShownParts, judge_run


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
        What `judging.judge_run` says, and ``seconds`` that learning took.
    """
    from cad_edge_training.backbones import DEFAULT_BACKBONE, load_backbone
    from cad_edge_training.train import Plan, train

    start = time.monotonic()
    train(
        stream, artifacts, Plan("ib_iumad", DEFAULT_BACKBONE, None, options, seed), lambda _: quiet
    )
    seconds = time.monotonic() - start
    backbone = load_backbone(DEFAULT_BACKBONE)
    judged = judge_run(artifacts, steps, ShownParts(stream, backbone), backbone)
    return judged | {"seconds": seconds}


def quiet(doing: str, done: int, total: int) -> None:
    """Show nothing; one line per run is enough."""
