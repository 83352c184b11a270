"""Damaged bundles: refused in a sentence or answered as before, whatever is wrong with them."""

import collections
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cad_edge.store.bundle import Bundle
from tests.runtime.conftest import Workshop
from tests.runtime.golden_depth import give_depth
from tests.runtime.golden_words import give_words
from tests.runtime.test_joint import split_bank

pytest.importorskip("onnx")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="every case is a forked process")

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "bundle"
WORKERS = 2
ALLOWED = {"refused", "same", "other"}


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Path:
    """Sound bundles: shared and fused layout, joint tensors, depth and words."""
    folder = tmp_path_factory.mktemp("sound")
    shutil.copytree(GOLDEN, folder / "plain")
    rich = Workshop(Bundle(Path(shutil.copytree(GOLDEN, folder / "rich"))))
    give_depth(rich, "red", stand_in=True)
    split_bank(rich, "green", 3)
    give_words(rich, "green")
    rich.store.collect_garbage(1)
    return folder


def judged(bases: Path, seed: int, count: int) -> list[dict[str, object]]:
    """Judge cases in as many processes as there are cores; every case has a process of its own."""
    cuts = [count * place // WORKERS for place in range(WORKERS + 1)]
    command = [sys.executable, "-m", "tests.campaign.judge", str(bases), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        # Files and not pipes: one that nobody reads yet would fill up and stop its process.
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(WORKERS)]
        running = [
            subprocess.Popen(
                [*command, str(first), str(last)], stdout=output, cwd=ROOT, env=environment
            )
            for (first, last), output in zip(itertools.pairwise(cuts), outputs, strict=True)
        ]
        assert [one.wait() for one in running] == [0] * WORKERS
        for output in outputs:
            output.seek(0)
        return [json.loads(line) for output in outputs for line in output]


def test_no_damage_is_answered_by_anything_but_a_sentence(bases, campaign, campaign_seed, record):
    count = campaign["damaged_bundles"]
    cases = judged(bases, campaign_seed, count)
    outcomes = collections.Counter(case["outcome"] for case in cases)
    refused = [case for case in cases if case["outcome"] == "refused"]
    found = {
        "cases": len(cases),
        "seed": campaign_seed,
        "hashed_again": sum(bool(case["again"]) for case in cases),
        "outcomes": dict(sorted(outcomes.items())),
        "refused_of_hashed_again": sum(bool(case["again"]) for case in refused),
        "slowest_seconds": max(case["seconds"] for case in cases),
        "largest_mib": max(case["peak_mib"] for case in cases),
        "longest_message": max(len(case["said"]) for case in refused),
        "verify_refuses": sum(case["verify"] for case in refused) / len(refused),
        "verify_open_refuses": sum(case["verify_open"] for case in refused) / len(refused),
    }
    record("damaged_bundles", found)
    wrong = [case for case in cases if case["outcome"] not in ALLOWED]
    assert not wrong, wrong[:5]
    assert len(cases) == count and outcomes["refused"] > count / 2
    assert found["verify_refuses"] >= 0.99
    assert found["verify_open_refuses"] >= 0.99
