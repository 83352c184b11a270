"""New versions of a bundle while frames are in work."""

import json
import threading
import time

import pytest

from cad_edge.errors import BundleError, CadEdgeError, GraphError, IntegrityError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Stage
from cad_edge_runtime import Detector
from cad_edge_runtime import detector as detector_module

pytestmark = pytest.mark.torchless


def wait_for(condition, seconds: float = 5.0) -> float:
    """Seconds until ``condition``; a busy machine gets more time than the promise says."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < seconds, "nothing happened"
        time.sleep(0.002)
    return time.perf_counter() - began


def test_new_task_is_seen_within_200_ms(bundle, workshop, amber):
    with Detector.open(bundle, threads=1) as detector:
        assert detector.detect(amber[0]).verdict == "unknown_product"
        waits = []
        for number in range(5):
            workshop.learn(f"amber-{number}", amber)
            waits.append(wait_for(lambda n=number: f"amber-{n}" in detector.tasks()))
        assert sorted(waits)[2] < 0.2
        assert detector.detect(amber[0], task="amber-4").verdict == "normal"
        assert detector.detect(amber[0]).task.startswith("amber")


def test_new_task_costs_no_session(bundle, workshop, amber, created, frames):
    with Detector.open(bundle, threads=1, watch=False) as detector:
        assert len(created) == len(set(created)) == 4
        before = detector.detect(frames["red.bad"][0], task="red")
        workshop.learn("amber", amber)
        assert detector.refresh() is True
        assert detector.refresh() is False
        assert len(created) == 4
        after = detector.detect(frames["red.bad"][0], task="red")
        assert (after.score, after.version) == (before.score, 2)
        assert (after.anomaly_map == before.anomaly_map).all()


def test_refresh_shares_tensors_and_drops_what_went(bundle, workshop, amber):
    with Detector.open(bundle, threads=1, watch=False) as detector:
        old = detector._snapshot
        workshop.learn("amber", amber)
        detector.refresh()
        new = detector._snapshot
        shared = old.held.tensors.keys() & new.held.tensors.keys()
        assert shared and all(old.held.tensors[sha] is new.held.tensors[sha] for sha in shared)
        Bundle(bundle).rollback()
        detector.refresh()
        assert detector._snapshot.held.tensors.keys() == old.held.tensors.keys()
        assert detector.version == 1 and "amber" not in detector.tasks()


def test_new_threshold_is_picked_up(bundle, workshop, frames):
    def strict(entry):
        decision = entry.decision.model_copy(update={"threshold": -1.0})
        return entry.model_copy(update={"decision": decision})

    with Detector.open(bundle, threads=1) as detector:
        assert detector.detect(frames["red.good"][0]).verdict == "normal"
        workshop.change_task("red", strict)
        wait_for(lambda: detector.version == 2)
        found = detector.detect(frames["red.good"][0])
        assert found.verdict == "anomalous" and found.threshold == -1.0 and found.defects


def break_pointer(bundle, workshop):
    (bundle / "bundle.json").write_text("{")


def point_nowhere(bundle, workshop):
    (bundle / "bundle.json").write_text(json.dumps({"manifest": "0" * 64, "version": 2}))


def bind_other_inputs(bundle, workshop):
    graph = workshop.store.manifest().tasks["red"].engine.stages[1].graph
    stage = Stage(graph=graph, inputs={"features": "0/features", "memory": "tensor/bank"})
    workshop.change_stage("red", stage)


def ship_garbage(bundle, workshop):
    workshop.change_graph("red", b"this is no graph")


BROKEN = {
    "pointer": (break_pointer, BundleError),
    "manifest": (point_nowhere, IntegrityError),
    "inputs": (bind_other_inputs, GraphError),
    "graph": (ship_garbage, GraphError),
}


@pytest.mark.parametrize(("spoil", "error"), BROKEN.values(), ids=BROKEN)
def test_broken_version_keeps_the_old_one(bundle, workshop, frames, amber, spoil, error):
    pointer = (bundle / "bundle.json").read_bytes()
    with Detector.open(bundle, threads=1) as detector:
        spoil(bundle, workshop)
        wait_for(lambda: detector.last_refresh_error is not None)
        assert isinstance(detector.last_refresh_error, error)
        assert "\n" not in str(detector.last_refresh_error)
        found = detector.detect(frames["red.good"][0])
        assert (found.task, found.verdict, found.version) == ("red", "normal", 1)
        with pytest.raises(error):
            detector.refresh()
        (bundle / "bundle.json").write_bytes(pointer)
        wait_for(lambda: detector.last_refresh_error is None)
        workshop.learn("amber", amber)
        wait_for(lambda: "amber" in detector.tasks())


def test_pointer_that_comes_before_its_objects(bundle, workshop, amber, tmp_path):
    """A plain copy of a newer bundle may bring the pointer first."""
    workshop.learn("amber", amber)
    manifest = workshop.store.manifest()
    sha = manifest.tasks["amber"].engine.tensors
    newer = (bundle / "bundle.json").read_bytes()
    workshop.store.rollback()
    with Detector.open(bundle, threads=1) as detector:
        (bundle / "objects" / sha).rename(tmp_path / "late")
        (bundle / "bundle.json").write_bytes(newer)
        wait_for(lambda: detector.last_refresh_error is not None)
        (tmp_path / "late").rename(bundle / "objects" / sha)
        wait_for(lambda: "amber" in detector.tasks())
        assert detector.last_refresh_error is None


def test_closing_during_a_frame_still_answers_it(bundle, frames, monkeypatch):
    from cad_edge_runtime import inspection

    detector = Detector.open(bundle, threads=1)
    inner = inspection.select

    def closing(distance, tasks, reaches):
        detector.close()
        return inner(distance, tasks, reaches)

    monkeypatch.setattr(inspection, "select", closing)
    assert detector.detect(frames["red.bad"][0]).verdict == "anomalous"


def test_four_threads_lose_and_confuse_no_frame(bundle, workshop, frames, amber):
    """Versions come and go; every frame is answered, and as the version it names would."""
    stop, problems, counts = threading.Event(), [], [0] * 4
    expected = {
        (name, kind): float(frames[f"{name}.{kind}.score"][0])
        for name in ("red", "green", "blue")
        for kind in ("good", "bad")
    }

    def inspect(place: int, detector: Detector) -> None:
        while not stop.is_set():
            for (name, kind), score in expected.items():
                found = detector.detect(frames[f"{name}.{kind}"][0])
                if found.task != name or found.score != pytest.approx(score, abs=1e-5):
                    problems.append((name, kind, found))
            found = detector.detect(amber[0])
            recognised = found.task is not None and found.task.startswith("amber")
            if recognised != (found.version in versions):
                problems.append(("amber", found.version, found))
            counts[place] += len(expected) + 1

    versions: set[int] = set()
    with Detector.open(bundle, threads=1) as detector:
        workers = [threading.Thread(target=inspect, args=(n, detector)) for n in range(4)]
        for worker in workers:
            worker.start()
        try:
            for number in range(6):
                versions.add(number + 2)
                workshop.learn(f"amber-{number}", amber)
                wait_for(lambda n=number: detector.version == n + 2, 10)
        finally:
            stop.set()
            for worker in workers:
                worker.join()
        assert problems == [] and min(counts) > 0
        assert detector.last_refresh_error is None


def test_closing_during_a_refresh_closes(bundle, workshop, frames, monkeypatch):
    """Whatever the order: a version that is opened meanwhile does not open the detector again."""
    detector = Detector.open(bundle, threads=1, watch=False)
    inner = detector_module.open_snapshot

    def closing(*given):
        found = inner(*given)
        detector.close()
        return found

    monkeypatch.setattr(detector_module, "open_snapshot", closing)
    workshop.change_task("red", lambda entry: entry)
    detector.refresh()
    with pytest.raises(BundleError, match="is closed"):
        detector.detect(frames["red.good"][0])
    assert detector._snapshot is None


def test_threads_that_inspect_refresh_and_close(bundle, workshop, frames):
    """Every call answers rightly or says that the detector is closed; nothing else."""
    problems: list[object] = []
    for _ in range(6):
        detector = Detector.open(bundle, threads=2)
        closed = threading.Event()

        def inspect(detector=detector, closed=closed):
            try:
                while True:
                    found = detector.detect(frames["red.good"][0])
                    if (found.task, found.verdict) != ("red", "normal"):
                        problems.append(found)
            except BundleError as problem:
                if not closed.is_set() or "is closed" not in str(problem):
                    problems.append(problem)
            except BaseException as problem:
                problems.append(problem)

        def refresh(detector=detector, closed=closed):
            try:
                while True:
                    detector.refresh()
            except CadEdgeError as problem:
                if not closed.is_set() or "is closed" not in str(problem):
                    problems.append(problem)
            except BaseException as problem:
                problems.append(problem)

        workers = [threading.Thread(target=inspect) for _ in range(3)]
        workers.append(threading.Thread(target=refresh))
        for worker in workers:
            worker.start()
        workshop.change_task("red", lambda entry: entry)
        time.sleep(0.05)
        closed.set()
        detector.close()
        for worker in workers:
            worker.join(20)
        assert not any(worker.is_alive() for worker in workers)
        assert detector._snapshot is None
    assert problems == []


def test_little_memory_keeps_the_version_and_is_called_that(bundle, workshop, frames, monkeypatch):
    def full(*given):
        raise MemoryError

    with Detector.open(bundle, threads=1) as detector:
        monkeypatch.setattr(detector_module, "open_snapshot", full)
        workshop.change_task("red", lambda entry: entry)
        wait_for(lambda: detector.last_refresh_error is not None)
        assert "not enough memory to open version 2" in str(detector.last_refresh_error)
        assert detector.detect(frames["red.good"][0]).version == 1


def test_opening_refuses_what_a_refresh_refuses(bundle, workshop):
    bind_other_inputs(bundle, workshop)
    with pytest.raises(CadEdgeError):
        Detector.open(bundle)
