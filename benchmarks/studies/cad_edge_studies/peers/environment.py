"""The environment in which anomalib is installed, seen from outside."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.instruments.subprocess_worker import Argument, Launch, run

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
        variables = {"PYTHONPATH": _SOURCES, "OMP_NUM_THREADS": str(self.threads)}
        return Launch(name, arguments, place, variables, self.python)

    def worker(self, runtime: str, frames: Path, models: Sequence[Path], place: Path) -> Launch:
        """Describe a worker of the module `anomalib_worker`.

        ``place`` is its own: it would find the compiled model of another in the cache.
        """
        module = "cad_edge_studies.peers.anomalib_worker"
        return self.launch(place.name, place, "-m", module, runtime, frames, self.threads, *models)

    def export(self, frames: Path, orders: Sequence[str], place: Path) -> None:
        """Have `anomalib_models` build and export models, each ordered as KIND:SEED:FOLDER."""
        module = "cad_edge_studies.peers.anomalib_models"
        run(self.launch(module, place, "-m", module, frames, self.threads, *orders))

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
