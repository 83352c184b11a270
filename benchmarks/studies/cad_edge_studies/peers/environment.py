"""The environment in which anomalib is installed, seen from outside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_studies.peers.workers import Launch, run_script

FOLDER = REPOSITORY / ".venv-peers"
PACKAGES = ("anomalib", "torch", "torchvision", "timm", "openvino", "onnxruntime", "numpy")

_VERSIONS = """
import json, platform
from importlib.metadata import version
print(json.dumps({"python": platform.python_version(), **{n: version(n) for n in %r}}))
"""
_SOURCES = REPOSITORY / "benchmarks" / "studies"


@dataclass(frozen=True)
class PeerEnvironment:
    """Where the peers' interpreter is, and with how many threads it works."""

    python: Path
    threads: int

    @property
    def variables(self) -> dict[str, str]:
        """What its processes find in their environment."""
        return {"PYTHONPATH": str(_SOURCES), "OMP_NUM_THREADS": str(self.threads)}

    def launch(self, name: str, arguments: Sequence[str | Path], place: Path) -> Launch:
        """Describe a worker of the module `anomalib_worker`."""
        return Launch(name, self._command("anomalib_worker", arguments), place, self.variables)

    def run(self, module: str, arguments: Sequence[str | Path], place: Path) -> str:
        """Run a module of this folder there and return what it printed."""
        return run_script(self._command(module, arguments), place, self.variables)

    def run_code(self, code: str, place: Path) -> str:
        """Run a few lines there and return what they printed."""
        return run_script([str(self.python), "-c", code], place, self.variables)

    def versions(self, place: Path) -> dict[str, str]:
        """Return the versions of Python and of `PACKAGES`."""
        found: dict[str, str] = json.loads(self.run_code(_VERSIONS % (PACKAGES,), place))
        return found

    def _command(self, module: str, arguments: Sequence[str | Path]) -> tuple[str, ...]:
        words = [str(argument) for argument in arguments]
        return (str(self.python), "-m", f"cad_edge_studies.peers.{module}", *words)


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
