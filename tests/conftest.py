"""Fixtures that every wing's tests share."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before torch is imported, and for every process that a test starts: threads that wait for each
# other by spinning take ten times as long where other work shares the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of tests/campaign."""
    parser.addoption("--whole-campaign", action="store_true", help="as `make campaign` does")
    parser.addoption("--campaign-seed", type=int, default=0, help="seed of the campaigns")
    parser.addoption("--campaign-out", type=Path, help="folder for what the campaigns counted")


@pytest.fixture
def open_data() -> Path:
    """Folder of the open test data; a test that asks for it is skipped where it is absent."""
    folder = Path(os.environ.get("CAD_EDGE_DATA") or ROOT.parent / "shared" / "data" / "open")
    if not (folder / "datasets.json").is_file():
        pytest.skip("the open test data is not here; set CAD_EDGE_DATA to its folder")
    return folder


@pytest.fixture(autouse=True)
def _torch_seeded() -> None:
    """Draw the same in every test, whichever tests ran before it in its process."""
    torch = sys.modules.get("torch")  # not imported: these tests also run where there is none
    if torch is not None:
        torch.manual_seed(20240607)


@pytest.fixture
def rng() -> np.random.Generator:
    """Give a seeded generator, so that a failure can be replayed."""
    return np.random.default_rng(20240607)
