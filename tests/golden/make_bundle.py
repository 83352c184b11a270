"""Write the golden bundle that the runtime's tests open; run by hand, needs onnx.

    python tests/golden/make_bundle.py

Three products of 32 x 32 pixels, a trunk of one convolution, a nearest-key selector and a
nearest-neighbour head. ``red`` and ``green`` are in the shared layout, ``blue`` is fused. What
ONNX Runtime answers is written beside it, so that a change of the runtime cannot go unseen.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from cad_edge.calibration import Calibration, decide
from cad_edge.data.image import ImageRecipe
from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge.store.artifact import BackboneIdentity, Provenance
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Certificate, Engine, Manifest, Selector, Stage, TaskEntry

HERE = Path(__file__).parent
SIDE, CELLS, WIDTH, BANK, HELD_OUT = 32, 16, 8, 24, 40
BASES = {"red": (170, 60, 50), "green": (50, 150, 70), "blue": (40, 70, 180)}
RECIPE = ImageRecipe(width=SIDE, height=SIDE)


def good_parts(name: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 32, 32, 3) uint8."""
    base = np.array(BASES[name], np.float64)
    noise = rng.normal(0, 6, (count, SIDE, SIDE, 3))
    stripes = 12 * np.sin(np.arange(SIDE) * (0.4 + 0.2 * list(BASES).index(name)))
    return np.clip(base + noise + stripes[None, None, :, None], 0, 255).astype(np.uint8)


def with_defect(images: np.ndarray) -> np.ndarray:
    """Paint a white square of 6 x 6 pixels at row 8, column 20 on every image."""
    spoiled = images.copy()
    spoiled[:, 8:14, 20:26] = 250
    return spoiled


def graph(nodes, inputs, outputs, constants) -> bytes:
    """Serialise a graph of standard operators."""
    values = [helper.make_tensor_value_info(*value) for value in inputs]
    results = [helper.make_tensor_value_info(*value) for value in outputs]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    body = helper.make_graph(nodes, "golden", values, results, tensors)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


IMAGE = ("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
STATISTICS = ("statistics", TensorProto.FLOAT, ["batch", 6])
FEATURES = ("features", TensorProto.FLOAT, ["batch", WIDTH, CELLS, CELLS])
SCORE = ("score", TensorProto.FLOAT, ["batch"])
MAP = ("anomaly_map", TensorProto.FLOAT, ["batch", CELLS, CELLS])


def trunk(rng: np.random.Generator):
    """Nodes and constants from ``image`` to ``statistics`` and ``features``."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "level"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], ["mean"], axes=[2, 3], keepdims=1),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["squared"]),
        helper.make_node("ReduceMean", ["squared"], ["variance"], axes=[2, 3], keepdims=0),
        helper.make_node("Sqrt", ["variance"], ["deviation"]),
        helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
        helper.make_node("Concat", ["flat", "deviation"], ["statistics"], axis=1),
        helper.make_node(
            "Conv", ["scaled", "kernel"], ["mixed"], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["mixed"], ["features"]),
    ]
    kernel = rng.normal(0, 0.4, (WIDTH, 3, 3, 3)).astype(np.float32)
    return nodes, {"level": np.float32(255).reshape(()), "kernel": kernel}


def head():
    """Nodes and constants from ``features`` and ``bank`` to ``score`` and ``anomaly_map``."""
    nodes = [
        helper.make_node("Reshape", ["features", "patches"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["queries"], perm=[0, 2, 1]),
        helper.make_node("Unsqueeze", ["queries", "axis"], ["one"]),
        helper.make_node("Sub", ["one", "bank"], ["difference"]),
        helper.make_node("ReduceL2", ["difference"], ["distances"], axes=[3], keepdims=0),
        helper.make_node("ReduceMin", ["distances"], ["nearest"], axes=[2], keepdims=0),
        helper.make_node("Reshape", ["nearest", "cells"], ["anomaly_map"]),
        helper.make_node("ReduceMax", ["anomaly_map"], ["score"], axes=[1, 2], keepdims=0),
    ]
    return nodes, {
        "patches": np.array([0, WIDTH, CELLS * CELLS], np.int64),
        "axis": np.array([2], np.int64),
        "cells": np.array([0, CELLS, CELLS], np.int64),
    }


def selector_graph() -> bytes:
    """(statistics, keys) to distance."""
    nodes = [
        helper.make_node("Unsqueeze", ["statistics", "axis"], ["one"]),
        helper.make_node("Sub", ["one", "keys"], ["difference"]),
        helper.make_node("ReduceL2", ["difference"], ["distance"], axes=[2], keepdims=0),
    ]
    keys = ("keys", TensorProto.FLOAT, ["tasks", 6])
    distance = ("distance", TensorProto.FLOAT, ["batch", "tasks"])
    return graph(nodes, [STATISTICS, keys], [distance], {"axis": np.array([1], np.int64)})


def run(model: bytes, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run a graph once."""
    session = load_onnxruntime().InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(outputs, feed)


def record(engine: Engine, radius: float, scores, peaks, place: int, routing: str) -> TaskEntry:
    """Manifest entry of a task with made-up provenance."""
    calibration = Calibration(
        scheme="split",
        folds=1,
        scores=sorted(float(score) for score in scores),
        map_peaks=sorted(float(peak) for peak in peaks),
    )
    certificate = Certificate(
        reference="golden", runtime="golden", witness_images=0, adversarial_images=0,
        tolerance=1e-4, score_range=1.0, score_max=0.0, score_mean=0.0, map_max=0.0, map_mean=0.0,
        flips=0,
    )  # fmt: skip
    provenance = Provenance(seed=0, versions={}, data_sha256="0" * 64, images=HELD_OUT, seconds=0.0)
    return TaskEntry(
        method="golden", position=place, artifact="0" * 64, engine=engine, routing=routing,
        radius=radius, calibration=calibration, decision=decide(calibration, 0.05),
        certificate=certificate, hyperparameters={}, provenance=provenance,
    )  # fmt: skip


class Maker:
    """The graphs, and a bundle to put them in."""

    def __init__(self, bundle: Bundle, rng: np.random.Generator) -> None:
        self.bundle = bundle
        self.rng = rng
        self.trunk_nodes, self.trunk_constants = trunk(rng)
        self.head_nodes, self.head_constants = head()
        bank = ("bank", TensorProto.FLOAT, ["patches", WIDTH])
        self.entry = graph(self.trunk_nodes, [IMAGE], [STATISTICS, FEATURES], self.trunk_constants)
        self.head = graph(self.head_nodes, [FEATURES, bank], [SCORE, MAP], self.head_constants)

    def engine(self, stages: list[Stage], tensors: dict[str, np.ndarray] | None) -> Engine:
        """Engine with ``tensors``, in the shared layout if there are any."""
        sha = self.bundle.add_object({"tensors.safetensors": save(tensors)}) if tensors else None
        layout = "shared" if tensors else "fused"
        return Engine(recipe=RECIPE, stages=stages, tensors=sha, layout=layout, precision="fp32")

    def stage(self, model: bytes, inputs: dict[str, str]) -> Stage:
        """Stage of a graph that becomes an object."""
        return Stage(graph=self.bundle.add_object({"graph.onnx": model}), inputs=inputs)

    def shared(self, bank: np.ndarray) -> Engine:
        """Trunk and head with the bank bound."""
        bound = {"features": "0/features", "bank": "tensor/bank"}
        stages = [self.stage(self.entry, {"image": "frame/image"}), self.stage(self.head, bound)]
        return self.engine(stages, {"bank": bank})

    def fused(self, bank: np.ndarray) -> Engine:
        """Trunk, head and bank in one graph."""
        constants = {**self.trunk_constants, **self.head_constants, "bank": bank}
        model = graph(self.trunk_nodes + self.head_nodes, [IMAGE], [SCORE, MAP], constants)
        return self.engine([self.stage(model, {"image": "frame/image"})], None)

    def selector(self, keys: np.ndarray) -> Engine:
        """Trunk and nearest key."""
        bound = {"statistics": "0/statistics", "keys": "tensor/keys"}
        stages = [
            self.stage(self.entry, {"image": "frame/image"}),
            self.stage(selector_graph(), bound),
        ]
        return self.engine(stages, {"keys": keys})

    def features(self, images: np.ndarray) -> np.ndarray:
        """(n, 8, 16, 16) float32."""
        return run(self.entry, ["features"], {"image": images})[0]

    def judged(self, images: np.ndarray, bank: np.ndarray) -> list[np.ndarray]:
        """Scores (n,) and maps (n, 16, 16)."""
        feed = {"features": self.features(images), "bank": bank}
        return run(self.head, ["score", "anomaly_map"], feed)


def learn(maker: Maker, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Key (6,) and bank (24, 8) of a product."""
    learned = good_parts(name, HELD_OUT, maker.rng)
    (statistics,) = run(maker.entry, ["statistics"], {"image": learned})
    patches = maker.features(learned).transpose(0, 2, 3, 1).reshape(-1, WIDTH)
    return statistics.mean(axis=0), patches[maker.rng.choice(len(patches), BANK, replace=False)]


def make() -> None:
    """Write ``bundle`` and ``frames.safetensors`` beside this file."""
    shutil.rmtree(HERE / "bundle", ignore_errors=True)
    bundle = Bundle(HERE / "bundle")
    frames: dict[str, np.ndarray] = {}
    tasks: dict[str, TaskEntry] = {}
    with bundle.lock():
        maker = Maker(bundle, np.random.default_rng(0))
        learned = {name: learn(maker, name) for name in BASES}
        keys = np.stack([key for key, _ in learned.values()])
        apart = np.linalg.norm(keys[:, None] - keys[None], axis=2)
        radius = float(apart[apart > 0].min()) / 2
        for place, (name, (key, bank)) in enumerate(learned.items()):
            scores, maps = maker.judged(good_parts(name, HELD_OUT, maker.rng), bank)
            engine = maker.fused(bank) if name == "blue" else maker.shared(bank)
            routing = bundle.add_object({"routing.safetensors": save({"mean": key})})
            tasks[name] = record(engine, radius, scores, maps.max(axis=(1, 2)), place, routing)
            good = good_parts(name, 2, maker.rng)
            for kind, images in (("good", good), ("bad", with_defect(good))):
                frames[f"{name}.{kind}"] = images
                frames[f"{name}.{kind}.score"], _ = maker.judged(images, bank)
        selector = Selector(kind="key_set", engine=maker.selector(keys), tasks=list(tasks))
        backbone = BackboneIdentity(id="golden", sha256="0" * 64)
        bundle.commit(
            Manifest(version=1, previous=None, backbone=backbone, selector=selector, tasks=tasks)
        )
    (HERE / "bundle" / ".lock").unlink(missing_ok=True)
    (HERE / "frames.safetensors").write_bytes(save(frames))


if __name__ == "__main__":
    make()
