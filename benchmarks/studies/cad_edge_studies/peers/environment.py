"""The environment in which anomalib is installed, seen from outside."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.instruments.subprocess_worker import Argument, Launch, run
from cad_edge_studies.peers.anomalib_worker import RUNTIMES

FOLDER = REPOSITORY / ".venv-peers"
PACKAGES = ("anomalib", "torch", "torchvision", "timm", "openvino", "onnxruntime", "numpy")

_VERSIONS = """
import json, platform
from importlib.metadata import version
print(json.dumps({"python": platform.python_version(), **{n: version(n) for n in %r}}))
"""
_SOURCES = os.pathsep.join(str(REPOSITORY / path) for path in ("benchmarks", "benchmarks/studies"))


@dataclass(frozen=True)
class PeerEnvironment:
    """Where the peers' interpreter is, and with how many threads it works."""

    python: Path
    threads: int

    def launch(self, name: str, place: Path, *arguments: Argument) -> Launch:
        """Describe a process of the peers' interpreter with ``arguments``."""
        variables = {
            "PYTHONPATH": _SOURCES,
            "OMP_NUM_THREADS": str(self.threads),
            "ORT_DISABLE_TELEMETRY": "1",
        }
        return Launch(name, arguments, place, variables, self.python)

    def module(self, name: str, place: Path, *arguments: Argument) -> Launch:
        """Describe a process of one of our modules ``anomalib_*``."""
        module = f"cad_edge_studies.peers.{name}"
        return self.launch(f"{name} in {place.name}", place, "-m", module, *arguments)

    def workers(self, name: str, frames: Path, models: Sequence[Path]) -> dict[str, Launch]:
        """Describe a worker on ``models`` for each of `RUNTIMES`, in a folder beside ``frames``.

        It is its own: it would find the compiled model of another in the cache.
        """
        places = {runtime: frames.with_name(f"{name}-{runtime}") for runtime in RUNTIMES}
        return {
            runtime: self.module("anomalib_worker", place, runtime, frames, self.threads, *models)
            for runtime, place in places.items()
        }

    def export(self, frames: Path, orders: Mapping[Path, str], place: Path) -> None:
        """Have `anomalib_models` build and export models, each ordered as KIND:SEED, to folders."""
        written = [f"{order}:{folder}" for folder, order in orders.items()]
        run(self.module("anomalib_models", place, frames, self.threads, *written))

    def versions(self, place: Path) -> dict[str, str]:
        """Return the versions of Python and of `PACKAGES`."""
        said = run(self.launch("the peers' environment", place, "-c", _VERSIONS % (PACKAGES,)))
        found: dict[str, str] = json.loads(said)
        return found


def find_environment(folder: Path, threads: int) -> PeerEnvironment:
    """Find the peers' environment in ``folder``.

    Raises
    ------
    OptionError
        There is none, or anomalib is not in it.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        raise OptionError(f"{folder} is not an environment; make it by `make result-peers`")
    if not any(folder.glob("lib/python*/site-packages/anomalib")):
        raise OptionError(
            f"{folder} lacks anomalib; delete it and make it again by `make result-peers`"
        )
    # Not resolved: the interpreter knows by the link's place which environment it belongs to.
    return PeerEnvironment(python.absolute(), threads)
