"""How large the campaigns are: small in `make test`, whole in `make campaign`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = {
    "damaged_bundles": 500,
    "damaged_images": 1_000,
    "flipped_artifacts": 40,
    "kills": 3,
    "forgeries": 100,
    "soak_frames": 2_000,
}
WHOLE = {
    "damaged_bundles": 10_000,
    "damaged_images": 40_000,
    "flipped_artifacts": 200,
    "kills": 50,
    "forgeries": 1_000,
    "soak_frames": 200_000,
}


@pytest.fixture(scope="session")
def campaign(pytestconfig) -> dict[str, int]:
    """Cases of each kind, by name."""
    return WHOLE if pytestconfig.getoption("--whole-campaign") else SMALL


@pytest.fixture(scope="session")
def campaign_seed(pytestconfig) -> int:
    """Seed of every random choice of a campaign."""
    return pytestconfig.getoption("--campaign-seed")


@pytest.fixture
def record(pytestconfig) -> Callable[[str, dict[str, object]], None]:
    """Write what a campaign counted to `--campaign-out`, and print it."""
    folder: Path | None = pytestconfig.getoption("--campaign-out")

    def write(name: str, counted: dict[str, object]) -> None:
        text = json.dumps(counted, indent=1)
        print(f"{name}: {text}")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    return write
