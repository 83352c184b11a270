"""A copy of the golden bundle, and ways to give it new versions without onnx."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine, Manifest, Stage, TaskEntry
from cad_edge.store.seen_versions import STATE
from cad_edge.store.signature import Signer
from cad_edge.store.trust import TRUSTED_KEYS
from cad_edge_runtime import Detector
from cad_edge_runtime.session import GraphSession, SessionFactory
from tests.runtime.golden_words import Dialogue, features, give_words

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def bundle(tmp_path) -> Path:
    return Path(shutil.copytree(GOLDEN / "bundle", tmp_path / "bundle"))


@pytest.fixture(scope="session")
def frames() -> dict[str, np.ndarray]:
    """``<task>.<good|bad>`` (2, 32, 32, 3) uint8 and ``<task>.<good|bad>.score`` (2,) float32."""
    return load_file(GOLDEN / "frames.safetensors")


@dataclass(frozen=True)
class Workshop:
    """Writes new versions of a bundle."""

    store: Bundle

    def commit(self, change: Callable[[Manifest], Manifest]) -> int:
        """Put the changed manifest in force as the next version."""
        with self.store.lock():
            pointer, manifest = self.store.pointer(), self.store.manifest()
            update = {"version": pointer.version + 1, "previous": pointer.manifest}
            return self.store.commit(change(manifest).model_copy(update=update)).version

    def change_task(self, name: str, change: Callable[[TaskEntry], TaskEntry]) -> int:
        def changed(manifest: Manifest) -> Manifest:
            tasks = {**manifest.tasks, name: change(manifest.tasks[name])}
            return manifest.model_copy(update={"tasks": tasks})

        return self.commit(changed)

    def change_stage(self, name: str, stage: Stage) -> int:
        """Replace the last stage of a task's engine."""

        def changed(entry: TaskEntry) -> TaskEntry:
            stages = [*entry.engine.stages[:-1], stage]
            engine = entry.engine.model_copy(update={"stages": stages})
            return entry.model_copy(update={"engine": engine})

        return self.change_task(name, changed)

    def change_graph(self, name: str, data: bytes) -> int:
        """Replace the last graph of a task's engine, its bindings staying as they are."""
        sha = self.store.add_object({"graph.onnx": data})
        stage = self.store.manifest().tasks[name].engine.stages[-1]
        return self.change_stage(name, stage.model_copy(update={"graph": sha}))

    def graph(self, name: str, stage: int = -1) -> bytes:
        sha = self.store.manifest().tasks[name].engine.stages[stage].graph
        return self.store.read_object(sha)["graph.onnx"]

    def learn(self, name: str, images: np.ndarray) -> int:
        """Add a task like ``red`` that knows ``images`` (n, 32, 32, 3) uint8."""
        session = load_onnxruntime().InferenceSession(
            self.graph("red", 0), providers=["CPUExecutionProvider"]
        )
        statistics, features = session.run(["statistics", "features"], {"image": images})
        bank = np.ascontiguousarray(features.transpose(0, 2, 3, 1).reshape(-1, 8)[::7])

        def changed(manifest: Manifest) -> Manifest:
            red, engine = manifest.tasks["red"], manifest.selector.engine
            keys = self.tensors(engine)["keys"]
            keys = np.concatenate([keys, statistics.mean(axis=0, keepdims=True)])
            known = self.bind(red.engine, {"bank": bank})
            selector = manifest.selector.model_copy(
                update={
                    "engine": self.bind(engine, {"keys": keys}),
                    "tasks": [*manifest.selector.tasks, name],
                }
            )
            entry = red.model_copy(update={"engine": known, "position": len(manifest.tasks)})
            tasks = {**manifest.tasks, name: entry}
            return manifest.model_copy(update={"tasks": tasks, "selector": selector})

        return self.commit(changed)

    def tensors(self, engine: Engine) -> dict[str, np.ndarray]:
        return load_file(self.store.object_folder(engine.tensors) / "tensors.safetensors")

    def bind(self, engine: Engine, tensors: dict[str, np.ndarray]) -> Engine:
        sha = self.store.add_object({"tensors.safetensors": save(tensors)})
        return engine.model_copy(update={"tensors": sha})

    def forget_all(self) -> int:
        """Commit a version without tasks."""

        def changed(manifest: Manifest) -> Manifest:
            selector = manifest.selector.model_copy(update={"tasks": []})
            return manifest.model_copy(update={"tasks": {}, "selector": selector})

        return self.commit(changed)


@pytest.fixture
def workshop(bundle) -> Workshop:
    return Workshop(Bundle(bundle))


@pytest.fixture
def amber(rng) -> np.ndarray:
    """(6, 32, 32, 3) uint8: a product that the golden bundle does not know."""
    base = np.array([230, 170, 20], np.float64)
    noise = rng.normal(0, 6, (6, 32, 32, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def created(monkeypatch) -> list[str]:
    """Graphs for which a session was made."""
    graphs: list[str] = []
    inner = SessionFactory.create

    def counted(self, graph, inputs, outputs):
        graphs.append(graph)
        return inner(self, graph, inputs, outputs)

    monkeypatch.setattr(SessionFactory, "create", counted)
    return graphs


@pytest.fixture
def red(bundle, workshop) -> Iterator[Detector]:
    """A detector of a bundle whose task `red` answers in words."""
    give_words(workshop, "red")
    with Detector.open(bundle, threads=1, watch=False) as opened:
        yield opened


@pytest.fixture
def image(frames) -> np.ndarray:
    """A defective part of `red`, (32, 32, 3) uint8."""
    return frames["red.bad"][0]


@pytest.fixture
def dialogue(workshop, image) -> Dialogue:
    """What `red` must say about ``image``."""
    return Dialogue(features(workshop, image))


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """Graph of every run, in order."""
    seen: list[str] = []
    inner = GraphSession.run

    def counted(self, outputs, feed):
        seen.append(self.graph)
        return inner(self, outputs, feed)

    monkeypatch.setattr(GraphSession, "run", counted)
    return seen


@pytest.fixture
def fresh_device(tmp_path, monkeypatch) -> Path:
    """State of a device that trusts no key and has seen no version; the folder is not there yet."""
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def keys(tmp_path) -> tuple[Path, Path]:
    """Files of a private key and of its public key."""
    from tests.base.signing_keys import make_keys  # needs the extra `signing`

    return make_keys(tmp_path / "keys", "line")


@pytest.fixture
def signed(bundle, keys, fresh_device) -> Path:
    """The golden bundle, signed with ``keys``."""
    Bundle(bundle).sign(Signer(keys[0]))
    return bundle
