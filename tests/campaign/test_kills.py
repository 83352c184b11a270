"""Commands killed at random moments: the folder is as before or as after, and nothing is left.

Half of the moments are drawn from all of a command's time, half from around its writes.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cad_edge.store.artifact import list_artifacts, read_artifact
from cad_edge.store.bundle import Bundle
from tests.base.bundle_samples import leftovers

pytest.importorskip("torch")
pytest.importorskip("onnx")

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bundle"
SETTLED = 2  # undisturbed runs; the first one imports, the last one tells times and result


class Commands:
    """`cad-edge` in children of one process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output.txt"
        script = Path(__file__).with_name("forked_commands.py")
        self._process = subprocess.Popen(
            [sys.executable, script, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: list[str], seconds: float | None = None) -> dict:
        asked = {"arguments": arguments, "seconds": seconds}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def whole(self, arguments: list[str]) -> dict:
        """Run a command that must succeed."""
        done = self.run(arguments)
        assert done["status"] == 0, self.output.read_text()
        return done

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Iterator[Commands]:
    made = Commands(tmp_path_factory.mktemp("commands"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """Folder of a stream of two products, their artifacts, and a bundle of the first."""
    from cad_edge_export.exporter import export_artifacts
    from cad_edge_export.plan import ExportPlan
    from tests.training.small_products import NAMES, SMALL, learn, quiet, write_stream

    folder = tmp_path_factory.mktemp("learned")
    learn(write_stream(folder / "stream", NAMES[:2]), folder / "artifacts", SMALL)
    first = folder / "artifacts" / NAMES[0]
    export_artifacts([first], folder / "bundle", ExportPlan(), quiet)
    return folder


@dataclass
class Campaign:
    """One command, killed again and again on copies of one folder."""

    before: Path
    arguments: Callable[[Path], list[str]]
    state: Callable[[Path], object]
    """What is compared; it also checks that all is whole."""
    swept: Callable[[Path], list[Path]] = leftovers
    """What is left of a killed command, after it was run again."""
    adds_each_time: bool = False
    """Whether the command makes a further version where it has succeeded already."""
    states: tuple[object, object] = (None, None)
    counted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("before", "after"), 0))

    def run(self, commands: Commands, kills: int, rng: np.random.Generator, place: Path) -> None:
        for number in range(SETTLED):
            done = commands.whole(self.arguments(self.copy(place, f"whole-{number}")))
        self.states = self.state(self.before), self.state(place / f"whole-{SETTLED - 1}")
        assert self.states[0] != self.states[1]
        for number in range(4 * kills):
            folder = self.copy(place, f"killed-{number}")
            moment = rng.uniform(0, done["seconds"])
            if number % 2:
                moment = float(rng.choice(done["writes"])) + rng.normal(0, 0.002)
            ended = commands.run(self.arguments(folder), max(moment, 0.0))
            if ended["status"] == 0:
                done = ended  # it was faster than the one before
            else:
                assert ended["status"] == -signal.SIGKILL, commands.output.read_text()
                self.judge(folder, commands)
            shutil.rmtree(folder)
            if sum(self.counted.values()) == kills:
                return
        pytest.fail(f"only {self.counted} of {kills} were killed in {4 * kills} attempts")

    def judge(self, folder: Path, commands: Commands) -> None:
        """A killed command has left one of two states; run again, it ends what it began."""
        _, after = self.states
        found = self.state(folder)
        assert found in self.states, folder
        self.counted["after" if found == after else "before"] += 1
        commands.whole(self.arguments(folder))
        assert self.swept(folder) == [], folder
        again = self.state(folder)
        assert again == after or (self.adds_each_time and found == after), folder

    def copy(self, place: Path, name: str) -> Path:
        shutil.copytree(self.before, place / name)
        return place / name


def versions(folder: Path) -> object:
    """Pointer of a bundle of which every byte is as it was written."""
    bundle = Bundle(folder / "bundle")
    assert bundle.verify() == []
    return bundle.pointer()


@pytest.fixture
def attack(commands, campaign, campaign_seed, record, tmp_path, request):
    """Run a campaign and record it under the name of its command."""

    def run(name: str, one: Campaign) -> None:
        rng = np.random.default_rng([campaign_seed, len(name)])
        one.run(commands, campaign["kills"], rng, tmp_path)
        kills = {"seed": campaign_seed, "kills": campaign["kills"], **one.counted}
        record(f"kills_{name}", kills)

    return run


def golden(folder: Path, commands: Commands, versions: int) -> Path:
    """Copy the golden bundle and give it further versions by `cad-edge threshold`."""
    shutil.copytree(GOLDEN, folder / "bundle")
    for number in range(versions - 1):
        arguments = [str(folder / "bundle"), "--task", "red", "--false-reject-rate"]
        commands.whole(["threshold", *arguments, str(0.1 + number / 100)])
    return folder


def test_threshold(attack, commands, tmp_path_factory):
    before = golden(tmp_path_factory.mktemp("threshold"), commands, 1)
    rate = ["--task", "green", "--false-reject-rate", "0.2"]

    def arguments(folder: Path) -> list[str]:
        return ["threshold", f"{folder}/bundle", *rate]

    attack("threshold", Campaign(before, arguments, versions, adds_each_time=True))


def test_rollback(attack, commands, tmp_path_factory):
    before = golden(tmp_path_factory.mktemp("rollback"), commands, 3)
    attack(
        "rollback",
        Campaign(before, lambda it: ["rollback", f"{it}/bundle", "--to", "1"], versions),
    )


def test_gc(attack, commands, tmp_path_factory):
    """After it there is what the last version needs, and nothing else."""
    before = golden(tmp_path_factory.mktemp("gc"), commands, 4)
    bundle = Bundle(before / "bundle")
    for number in range(5):
        bundle.add_object({"graph.onnx": b"an export was killed", "n": bytes([number])})
    needed = bundle.manifest().objects()
    current = bundle.pointer()

    def swept(folder: Path) -> list[Path]:
        objects = {path.name for path in (folder / "bundle" / "objects").iterdir()}
        manifests = [path.stem for path in (folder / "bundle" / "manifests").iterdir()]
        assert (objects, manifests) == (needed, [current.manifest])
        return leftovers(folder)

    def state(folder: Path) -> bool:
        """Whether anything is left; in between the bundle is the same to all that open it."""
        bundle = Bundle(folder / "bundle")
        assert bundle.verify() == [] and bundle.pointer() == current
        objects = {path.name for path in (folder / "bundle" / "objects").iterdir()}
        return (objects & needed, len(objects) == len(needed)) == (needed, True)

    arguments = Campaign(before, lambda it: ["gc", f"{it}/bundle", "--keep", "1"], state, swept)
    attack("gc", arguments)


def test_export(attack, learned, tmp_path_factory):
    before = tmp_path_factory.mktemp("export")
    shutil.copytree(learned / "bundle", before / "bundle")
    artifacts = str(learned / "artifacts")

    def swept(folder: Path) -> list[Path]:
        bundle = Bundle(folder / "bundle")
        assert bundle.collect_garbage(keep=2).objects == ()
        return leftovers(folder)

    attack(
        "export",
        Campaign(
            before, lambda it: ["export", artifacts, "--bundle", f"{it}/bundle"], versions, swept
        ),
    )


def test_train(attack, learned, tmp_path_factory):
    from tests.training.small_products import NAMES, SMALL

    before = tmp_path_factory.mktemp("train")
    shutil.copytree(learned / "artifacts" / NAMES[0], before / "artifacts" / NAMES[0])
    options = ["--stream", str(next((learned / "stream").glob("*.json"))), "--size", "64"]
    options += [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]

    def state(folder: Path) -> object:
        """What was learned, but for how long it took."""
        tasks = [read_artifact(path) for path in list_artifacts(folder / "artifacts")]
        return [
            {name: one.tobytes() for name, one in {**task.tensors, **task.witness}.items()}
            for task in tasks
        ]

    def swept(folder: Path) -> list[Path]:
        names = {path.name for path in (folder / "artifacts").iterdir()}
        return [folder / name for name in names - {*NAMES[:2]}]

    attack(
        "train",
        Campaign(before, lambda it: ["train", *options, "--out", f"{it}/artifacts"], state, swept),
    )
