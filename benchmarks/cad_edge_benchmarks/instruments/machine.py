"""What a measurement was made on and with: processor, memory, versions, commit."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "cad-edge",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "torch",
    "transformers",
    "diffusers",
    "onnx",
    "scipy",
)


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, object]:
    """Processor, cores that this process may use, memory, system and load."""
    fields = _cpu_fields(cpuinfo)
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cpu_identity": {
            name: fields[name] for name in ("cpu family", "model", "stepping") if name in fields
        },
        "instructions": [
            name
            for name in ("avx2", "avx512f", "avx512_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
            if name in fields.get("flags", fields.get("Features", "")).split()
        ],
        "cores": usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "governor": _governor(),
        "load": round(os.getloadavg()[0], 2),
    }


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the installed version of every package of `PACKAGES` that is there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit_of(folder: Path) -> str | None:
    """Commit checked out at ``folder``, with ``+`` when files differ from it; None outside git."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed program, fixed arguments
        ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is found where the user has it
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def _cpu_fields(cpuinfo: Path) -> dict[str, str]:
    """Fields of the first processor in ``cpuinfo``."""
    try:
        first = cpuinfo.read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _governor() -> str | None:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return path.read_text().strip()
    except OSError:
        return None
