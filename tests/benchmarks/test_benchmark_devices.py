"""Readers of GPUs, power rails and the system, on recorded files and a stand-in for NVML."""

import sys
import threading
from types import SimpleNamespace

import pytest

from cad_edge_benchmarks.instruments.environment import (
    board_model,
    describe_environment,
    jetson_release,
    power_mode,
)
from cad_edge_benchmarks.instruments.meters import (
    Meter,
    MeterLog,
    find_meter,
    jetson_rails,
    list_gpus,
    load_nvml,
)

RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
NVPMODEL = "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN >\n"


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def monitor(number, rails):
    """Files of an INA3221: label, millivolts and milliamperes of each channel."""
    place = f"sys/class/hwmon/hwmon{number}"
    files = {f"{place}/name": "ina3221\n"}
    for channel, (label, voltage, current) in enumerate(rails, start=1):
        files[f"{place}/in{channel}_label"] = f"{label}\n"
        files[f"{place}/in{channel}_input"] = f"{voltage}\n"
        files[f"{place}/curr{channel}_input"] = f"{current}\n"
    return files


@pytest.fixture
def nvml():
    """What is used of pynvml, with one GPU that two processes use."""
    here = SimpleNamespace(pid=7, usedGpuMemory=300_000_000)
    other = SimpleNamespace(pid=8, usedGpuMemory=900_000_000)
    return SimpleNamespace(
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda at: f"gpu-{at}",
        nvmlDeviceGetName=lambda handle: b"Tester 9000",
        nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=8 << 30),
        nvmlDeviceGetPowerManagementLimit=lambda handle: 70_000,
        nvmlDeviceGetPowerUsage=lambda handle: 41_500,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [other, here],
    )


def test_a_module_that_measures_its_input_is_read_there(tmp_path):
    rails = [("VDD_IN", 5000, 1400), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 5000, 300)]
    write(tmp_path, monitor(1, rails))
    meter = find_meter(None, None, tmp_path)
    assert meter.source == "INA3221 (VDD_IN)"
    assert meter.watts() == pytest.approx(7.0)  # 5 V times 1.4 A


def test_rails_of_a_board_without_a_total_are_summed(tmp_path):
    write(tmp_path, monitor(1, [("VDD_GPU_SOC", 19000, 100), ("VDD_CPU_CV", 19000, 50)]))
    write(tmp_path, monitor(2, [("VIN_SYS_5V0", 5000, 1000)]))
    write(tmp_path, {"sys/class/hwmon/hwmon0/name": "nvme\n"})
    assert [rail.name for rail in jetson_rails(tmp_path)] == [
        "VDD_GPU_SOC",
        "VDD_CPU_CV",
        "VIN_SYS_5V0",
    ]
    assert find_meter(None, None, tmp_path).watts() == pytest.approx(1.9 + 0.95 + 5.0)


def test_a_label_without_its_readings_is_no_rail(tmp_path):
    files = monitor(1, [("VDD_IN", 5000, 1400)])
    del files["sys/class/hwmon/hwmon1/curr1_input"]
    write(tmp_path, files)
    assert jetson_rails(tmp_path) == []
    assert find_meter(None, 0, tmp_path) is None


def test_gpus_are_listed_with_driver_and_limit(nvml):
    (gpu,) = list_gpus(nvml)
    assert (gpu.name, gpu.driver, gpu.memory) == ("Tester 9000", "580.1", 8 << 30)
    assert gpu.power_limit_watts == 70.0
    assert list_gpus(None) == []


def test_a_gpu_is_metered_only_where_it_runs_the_graphs(nvml, tmp_path, monkeypatch):
    monkeypatch.setattr("os.getpid", lambda: 7)
    assert find_meter(nvml, None, tmp_path) is None
    meter = find_meter(nvml, 0, tmp_path)
    assert meter.source == "NVML, GPU 0 alone"
    assert meter.watts() == 41.5
    assert meter.gpu_bytes() == 300_000_000


def test_a_gpu_that_does_not_report_its_power_still_tells_memory(nvml, tmp_path, monkeypatch):
    def refused(handle):
        raise RuntimeError("not supported")

    nvml.nvmlDeviceGetPowerUsage = refused
    nvml.nvmlDeviceGetPowerManagementLimit = refused
    monkeypatch.setattr("os.getpid", lambda: 9)
    meter = find_meter(nvml, 0, tmp_path)
    assert meter.watts is None
    assert meter.gpu_bytes() is None  # this process holds none of it
    assert list_gpus(nvml)[0].power_limit_watts is None


def test_without_a_driver_there_is_no_nvml(monkeypatch):
    def failing():
        raise OSError("no driver")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=failing))
    assert load_nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert load_nvml() is None


def test_a_meter_is_read_while_a_block_runs_and_its_failures_left_out(monkeypatch):
    monkeypatch.setattr("cad_edge_benchmarks.instruments.meters._PERIOD", 0.001)
    readings = iter([10.0, 20.0, None, 30.0])
    enough = threading.Event()

    def watts():
        value = next(readings, None)
        if value == 30.0:
            enough.set()
        if value is None:
            raise OSError("unplugged")
        return value

    with MeterLog(Meter("a meter", watts)) as log:
        assert enough.wait(5)
    power = log.power()
    assert (power.source, power.readings, power.mean_watts, power.peak_watts) == (
        "a meter",
        3,
        20.0,
        30.0,
    )
    with MeterLog(None) as nothing:
        pass
    assert nothing.power() is None
    assert nothing.gpu_bytes() is None


def test_a_jetson_names_board_release_and_power_mode(tmp_path):
    write(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "etc/nv_tegra_release": RELEASE,
            "var/lib/nvpmodel/status": "pmode:0002\n",
            "etc/nvpmodel.conf": NVPMODEL,
        },
    )
    assert board_model(tmp_path) == "NVIDIA Jetson Orin Nano Developer Kit"
    assert jetson_release(tmp_path) == "L4T 36.4.3"
    assert power_mode(tmp_path) == "2 MAXN"
    (tmp_path / "etc/nvpmodel.conf").unlink()
    assert power_mode(tmp_path) == "2"


def test_a_pc_names_itself_and_its_profile(tmp_path, nvml):
    write(
        tmp_path,
        {
            "sys/class/dmi/id/product_name": "Box 12\n",
            "sys/firmware/acpi/platform_profile": "performance\n",
        },
    )
    found = describe_environment(nvml, tmp_path)
    assert (found.model, found.release, found.power_mode) == ("Box 12", None, "performance")
    assert found.gpus[0].name == "Tester 9000"
    assert found.cores >= 1 and found.versions["numpy"]


def test_what_the_system_does_not_tell_is_none(tmp_path):
    found = describe_environment(None, tmp_path)
    assert (found.model, found.release, found.power_mode, found.gpus) == (None, None, None, [])
