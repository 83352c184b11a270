"""The environment that goes along with every figure: machine, system, power mode, bundle."""

import re
from pathlib import Path
from types import ModuleType

from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine, Manifest
from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_benchmarks.instruments.conditions import BundleFacts, Environment
from cad_edge_benchmarks.instruments.machine import describe_machine, versions
from cad_edge_benchmarks.instruments.meters import list_gpus, read_line

_RELEASE = re.compile(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")


def describe_environment(nvml: ModuleType | None, root: Path = Path("/")) -> Environment:
    """Describe the machine; what a file under ``root`` does not tell is None."""
    machine = describe_machine()
    known = {name: machine[name] for name in Environment.model_fields if name in machine}
    return Environment.model_validate(
        {
            **known,
            "model": board_model(root),
            "gpus": list_gpus(nvml),
            "release": jetson_release(root),
            "power_mode": power_mode(root),
            "versions": versions(),
        }
    )


def board_model(root: Path) -> str | None:
    """Name of the board from the device tree, or of the computer from its firmware."""
    return read_line(root / "proc/device-tree/model") or read_line(
        root / "sys/class/dmi/id/product_name"
    )


def jetson_release(root: Path) -> str | None:
    """Release of the Jetson's board support package, e.g. ``L4T 36.4.3``."""
    found = _RELEASE.search(read_line(root / "etc/nv_tegra_release") or "")
    return None if found is None else f"L4T {found[1]}.{found[2]}"


def power_mode(root: Path) -> str | None:
    """Power mode of a Jetson by number and name, or the platform profile of a PC."""
    status = re.search(r"pmode:(\d+)", read_line(root / "var/lib/nvpmodel/status") or "")
    if status is None:
        return read_line(root / "sys/firmware/acpi/platform_profile")
    names = dict(_MODE.findall(read_line(root / "etc/nvpmodel.conf") or ""))
    number = str(int(status[1]))
    return f"{number} {names[number]}" if number in names else number


def describe_bundle(bundle: Path) -> BundleFacts:
    """Say what version is in force and what it consists of.

    Raises
    ------
    BundleError
        The bundle cannot be read.
    """
    store = Bundle(bundle)
    pointer, manifest = store.pointer(), store.manifest()
    engines = [task.engine for task in manifest.tasks.values()]
    first = _sides(manifest.selector.engine)
    sizes = {_sides(engine) for engine in engines}
    return BundleFacts(
        manifest=pointer.manifest,
        version=pointer.version,
        tasks=sorted(manifest.tasks),
        selector=manifest.selector.kind,
        layouts=sorted({engine.layout for engine in engines}),
        precisions=sorted({engine.precision for engine in engines}),
        graphs=graphs_of(manifest),
        recipe=first,
        further_recipes=sorted(sizes - {first}),
        disk=version_bytes(store, manifest, pointer.manifest),
    )


def _sides(engine: Engine) -> tuple[int, int]:
    """Width and height of what an engine takes, in pixels."""
    return engine.recipe.width, engine.recipe.height


def graphs_of(manifest: Manifest) -> list[str]:
    """Sha256 of every graph of a version, sorted."""
    engines = [manifest.selector.engine, *(task.engine for task in manifest.tasks.values())]
    return sorted({stage.graph for engine in engines for stage in engine.stages})


def version_bytes(store: Bundle, manifest: Manifest, sha: str) -> int:
    """Bytes on the disk of what one version names, its own manifest among them."""
    objects = sum(folder_bytes(store.object_folder(name)) for name in manifest.objects())
    return objects + (store.path / "manifests" / f"{sha}.json").stat().st_size
