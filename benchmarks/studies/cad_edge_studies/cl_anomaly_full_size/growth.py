"""What a further task costs on the disk and in memory, as a mean over all but the first."""

from dataclasses import dataclass
from pathlib import Path

from cad_edge.errors import CadEdgeError
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_studies.cl_anomaly_full_size.subjects import copy_of_version, ours
from cad_edge_studies.peers.interleaving import REFUSED
from cad_edge_studies.peers.workers import Turn, Worker


@dataclass(frozen=True)
class Disk:
    """Bytes that one more task adds to a bundle; the manifest is not among them."""

    in_force: float
    """Of the objects that the version in force names, hence after garbage collection."""
    written: float
    """Of what the export of all further tasks wrote, what it made superfluous included."""
    manifest: float


def disk_growth(bundle_path: Path) -> Disk:
    """Compare the newest version of a bundle with the one before, per task between them."""
    bundle = Bundle(bundle_path)
    newest = bundle.manifest()
    assert newest.previous is not None
    before = bundle.manifest(newest.previous)
    tasks = len(newest.tasks) - len(before.tasks)
    new, old = set(newest.objects()), set(before.objects())
    gained = sum(folder_bytes(bundle.object_folder(sha)) for sha in new - old)
    lost = sum(folder_bytes(bundle.object_folder(sha)) for sha in old - new)
    pages = [
        (bundle_path / "manifests" / f"{sha}.json").stat().st_size
        for sha in (bundle.pointer().manifest, newest.previous)
    ]
    return Disk((gained - lost) / tasks, gained / tasks, (pages[0] - pages[1]) / tasks)


def memory_growth(place: Path, bundle: Path, threads: int) -> float:
    """Measure the unique bytes of a process per further task, each after the same frames."""
    newest = Bundle(bundle).manifest()
    small = copy_of_version(bundle, place / "first-version", newest.version - 1)
    before, after = (_unique(place, one, threads) for one in (small, bundle))
    return (after[0] - before[0]) / (after[1] - before[1])


def _unique(place: Path, bundle: Path, threads: int) -> tuple[int, int]:
    """Return the unique bytes of a detector's process, and how many tasks it has."""
    names = sorted(Bundle(bundle).manifest().tasks)
    with Worker(ours(place, bundle, threads)) as worker:
        said = worker.ask(Turn((0, 0), (names[0], names[0])))
        if REFUSED in {one.verdict for one in said}:
            raise CadEdgeError(f"{bundle} refuses a frame of {names[0]}; build it again")
        return worker.memory().uss, len(names)
