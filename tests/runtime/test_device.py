"""Devices: the choice, its verification, the wheels, and where TensorRT plans are kept."""

import json
import os
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from cad_edge import onnxruntime_installation
from cad_edge.errors import DeviceError, GraphError
from cad_edge.store.bundle import Bundle
from cad_edge_runtime import Detector, session
from cad_edge_runtime.device import (
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    Device,
    choose_device,
    providers_for,
    verify_device,
)
from cad_edge_runtime.plans import GpuFacts, PlanCache, cache_root, plan_key

pytestmark = pytest.mark.torchless
EVERYTHING = [TENSORRT, CUDA, OPENVINO, CPU]
ORIN = GpuFacts(sm="87", tensorrt="10.3.0", onnxruntime="1.23.2", cuda="12.6")


@pytest.mark.parametrize(
    ("asked", "available", "device"),
    [
        ("auto", [CPU], Device("cpu", strict=False)),
        ("auto", EVERYTHING, Device("cuda", strict=False)),
        ("auto", [OPENVINO, CPU], Device("cpu", strict=False)),
        ("openvino", [OPENVINO, CPU], Device("openvino", strict=True)),
        ("cpu", EVERYTHING, Device("cpu", strict=True)),
        ("cuda:1", EVERYTHING, Device("cuda", strict=True, index=1)),
        ("tensorrt", EVERYTHING, Device("tensorrt", strict=True)),
    ],
)
def test_choice(asked, available, device):
    assert choose_device(asked, available) == device


@pytest.mark.parametrize(
    "asked", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu:1", "openvino:0"]
)
def test_unknown_device(asked):
    with pytest.raises(DeviceError, match="is not known; use auto"):
        choose_device(asked, EVERYTHING)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("cuda", "gpu"), ("tensorrt", "TensorRT 10"), ("openvino", r"cad-edge\[openvino\]")],
)
def test_device_that_the_build_lacks(bundle, monkeypatch, asked, hint):
    monkeypatch.setattr(session.load_onnxruntime(), "get_available_providers", lambda: [CPU])
    with pytest.raises(DeviceError, match=hint):
        choose_device(asked, [CPU])
    with pytest.raises(DeviceError, match=asked):
        Detector.open(bundle, device=asked)


def test_providers_and_options():
    assert providers_for(Device("cpu", strict=True), 2, None).names == [CPU]
    cuda = providers_for(Device("cuda", strict=True, index=1), 2, None)
    assert cuda.names == [CUDA, CPU] and cuda.options[0]["device_id"] == "1"
    tensorrt = providers_for(Device("tensorrt", strict=True), 2, Path("/cache/plans/key"))
    assert tensorrt.names == [TENSORRT, CUDA, CPU]
    assert tensorrt.options[0]["trt_engine_cache_path"] == "/cache/plans/key"
    assert tensorrt.options[0]["trt_timing_cache_path"] == "/cache/plans"
    with pytest.raises(DeviceError, match="outside the bundle"):
        providers_for(Device("tensorrt", strict=True), 2, None)
    openvino = providers_for(Device("openvino", strict=True), 2, None)
    assert openvino.names == [OPENVINO, CPU]
    assert openvino.options[0] == {
        "device_type": "CPU",
        "precision": "ACCURACY",
        "num_of_threads": "2",
    }


def test_only_a_gpu_has_memory_of_its_own():
    names = ("cpu", "openvino", "cuda", "tensorrt")
    assert [Device(name, strict=True).on_gpu for name in names] == [False, False, True, True]


def test_openvino_answers_as_the_cpu_does(bundle, frames):
    """Runs where the wheel of the extra `openvino` is installed, as `make result-openvino` does."""
    if OPENVINO not in session.load_onnxruntime().get_available_providers():
        pytest.skip(
            "this onnxruntime has no OpenVINO; `make result-openvino` makes an environment with it"
        )
    with (
        Detector.open(bundle, device="cpu", watch=False) as exact,
        Detector.open(bundle, device="openvino", threads=1, watch=False) as other,
    ):
        assert other.device == "openvino"
        for name in ("red.good", "red.bad"):
            for frame in frames[name]:
                found, wanted = other.detect(frame), exact.detect(frame)
                assert (found.task, found.verdict) == (wanted.task, wanted.verdict)
                assert found.calibrated_score == pytest.approx(wanted.calibrated_score, abs=1e-3)


def test_what_a_session_got_is_compared():
    asked = Device("cuda", strict=True)
    assert verify_device(asked, [CUDA, CPU]) is asked
    with pytest.raises(DeviceError, match="runs on CPUExecutionProvider"):
        verify_device(asked, [CPU])
    assert verify_device(replace(asked, strict=False), [CPU]).name == "cpu"
    with pytest.raises(DeviceError):
        verify_device(Device("tensorrt", strict=True), [CUDA, CPU])


def test_session_on_another_device_is_an_error(bundle, monkeypatch):
    """ONNX Runtime only warns when the driver is missing and goes on with the CPU."""
    ort = session.load_onnxruntime()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    inner = ort.InferenceSession

    def fallen_back(path, sess_options, providers, provider_options, enable_fallback):
        return inner(path, sess_options=sess_options, providers=[CPU])

    monkeypatch.setattr(ort, "InferenceSession", fallen_back)
    with pytest.raises(DeviceError, match="'cuda' was asked for"):
        Detector.open(bundle, device="cuda")
    with Detector.open(bundle, watch=False) as detector:
        assert detector.device == "cpu"


def without_driver(monkeypatch, works=()):
    """Have ONNX Runtime offer CUDA, and fail when a session asks for it, as without a driver."""
    ort = session.load_onnxruntime()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    inner, made = ort.InferenceSession, []

    def failing(path, sess_options, providers, provider_options, enable_fallback):
        made.append(providers)
        if CUDA in providers and len(made) not in works:
            raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient\nand more")
        opened = inner(path, sess_options=sess_options, providers=[CPU])
        monkeypatch.setattr(opened, "get_providers", lambda: providers)
        return opened

    monkeypatch.setattr(ort, "InferenceSession", failing)
    return made


def test_a_device_that_fails_is_what_is_blamed(bundle, monkeypatch, capfd):
    without_driver(monkeypatch)
    with pytest.raises(DeviceError) as problem:
        Detector.open(bundle, device="cuda:0", watch=False)
    said = str(problem.value)
    assert "'cuda' cannot load graph" in said and "which the CPU can" in said
    assert "driver version is insufficient" in said and "use device='cpu'" in said
    assert "\n" not in said and "export" not in said
    assert capfd.readouterr() == ("", "")


def test_auto_goes_to_the_cpu_and_stays_there(bundle, frames, monkeypatch, capfd):
    made = without_driver(monkeypatch)
    with Detector.open(bundle, watch=False) as detector:
        assert detector.device == "cpu"
        assert detector.detect(frames["red.good"][0]).verdict == "normal"
    assert made[0] == [CUDA, CPU] and made[1:] == [[CPU]] * 4
    assert capfd.readouterr() == ("", "")


def test_auto_keeps_the_device_of_its_first_session(bundle, monkeypatch):
    """Tensors lie there by then, and a graph on the CPU would not find them."""
    factory = session.SessionFactory("auto", 1, Bundle(bundle))
    engine = factory._bundle.manifest().selector.engine
    without_driver(monkeypatch, works={1})
    factory = session.SessionFactory("auto", 1, Bundle(bundle))
    graph = engine.stages[0].graph
    factory.create(graph, ["image"], [])
    assert factory.device == Device("cuda", strict=True)
    with pytest.raises(DeviceError, match="'cuda' cannot load graph"):
        factory.create(graph, ["image"], [])


def test_a_graph_that_no_device_loads_is_the_graphs_fault(bundle, workshop, monkeypatch):
    without_driver(monkeypatch)
    broken = workshop.graph("red").replace(b"Transpose", b"Transport")
    sha = workshop.store.add_object({"graph.onnx": broken})
    inputs = workshop.store.manifest().tasks["red"].engine.stages[-1].inputs
    factory = session.SessionFactory("cuda", 1, workshop.store)
    with pytest.raises(GraphError):
        factory.create(sha, list(inputs), [])


def test_tensors_that_the_gpu_does_not_take(bundle, monkeypatch):
    without_driver(monkeypatch, works=range(9))
    with pytest.raises(DeviceError, match="cannot be put on device 'cuda'") as problem:
        Detector.open(bundle, watch=False)
    assert "export" not in str(problem.value)


@pytest.mark.parametrize(
    "asked", ["cuda:" + "1" * 5000, "cuda:\u0663", "x" * 5000, 3, None, b"cpu"]
)
def test_strange_devices_are_one_short_sentence(bundle, asked):
    with pytest.raises(DeviceError, match="is not known; use auto") as problem:
        Detector.open(bundle, device=asked, watch=False)
    assert len(str(problem.value)) < 300 and "\n" not in str(problem.value)


def test_several_wheels_are_refused(bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime_installation, "distribution", lambda name: name)
    with pytest.raises(DeviceError, match="installed together"):
        Detector.open(bundle)


def test_missing_onnxruntime_says_what_to_install(bundle, monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(onnxruntime_installation, "distribution", absent)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r'pip install "cad-edge\[cpu\]"'):
        Detector.open(bundle)


def test_plan_key_depends_on_everything():
    keys = {
        plan_key("a" * 64, ORIN, {}),
        plan_key("b" * 64, ORIN, {}),
        plan_key("a" * 64, ORIN, {"precision": "fp16"}),
        *(
            plan_key("a" * 64, replace(ORIN, **{name: "other"}), {})
            for name in ("sm", "tensorrt", "onnxruntime", "cuda")
        ),
    }
    assert len(keys) == 7
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert plan_key("a" * 64, ORIN, one) == plan_key("a" * 64, ORIN, other)


def test_plans_are_private_and_stale_ones_go(tmp_path):
    root = tmp_path / "plans"
    old = PlanCache(root, replace(ORIN, tensorrt="10.2.0")).folder("a" * 64, {})
    foreign = PlanCache(root, replace(ORIN, sm="110", tensorrt="10.2.0")).folder("a" * 64, {})
    cache = PlanCache(root, ORIN)
    mine = cache.folder("a" * 64, {})
    assert mine.stat().st_mode & 0o077 == 0
    assert json.loads((mine / "facts.json").read_text())["graph"] == "a" * 64
    broken = root / ("0" * 64)
    broken.mkdir()
    (broken / "facts.json").write_text("{")
    assert cache.prune() == sorted([old, broken])
    assert mine.is_dir() and foreign.is_dir() and not old.exists()


def test_only_the_newest_plans_are_kept(tmp_path):
    cache = PlanCache(tmp_path, ORIN)
    folders = [cache.folder(f"{number:064x}", {}) for number in range(4)]
    for age, folder in enumerate(folders):
        os.utime(folder / "facts.json", (1000 - age, 1000 - age))
    assert cache.prune(keep=2) == sorted(folders[2:])


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners on this system")
def test_plans_that_others_can_write_are_refused(tmp_path):
    cache = PlanCache(tmp_path / "plans", ORIN)
    folder = cache.folder("a" * 64, {})
    folder.chmod(0o777)
    with pytest.raises(DeviceError, match="can be written by others"):
        cache.folder("a" * 64, {})


def test_plans_lie_outside_the_bundle(tmp_path):
    bundle = tmp_path / "bundle"
    assert cache_root(bundle, {"CAD_EDGE_CACHE": str(tmp_path / "c")}) == tmp_path / "c" / "plans"
    xdg = cache_root(bundle, {"XDG_CACHE_HOME": str(tmp_path)})
    assert xdg == tmp_path / "cad-edge" / "plans"
    with pytest.raises(DeviceError, match="must not lie in the bundle"):
        cache_root(bundle, {"CAD_EDGE_CACHE": str(bundle / "cache")})
