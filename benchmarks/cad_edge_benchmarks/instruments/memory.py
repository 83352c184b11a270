"""Memory of a process as the kernel counts it, in bytes.

Mapped weights that several processes share make the resident size misleading, so the unique and
the proportional size stand beside it.
"""

from dataclasses import dataclass
from pathlib import Path

from cad_edge.errors import CadEdgeError

_KIBIBYTE = 1024


@dataclass(frozen=True)
class Memory:
    """Memory of one process, in bytes."""

    rss: int
    """Resident: everything of it that is in RAM, shared pages in full."""
    pss: int
    """Proportional: shared pages divided by the number of processes that share them."""
    uss: int
    """Unique: what would come free if the process ended."""


def memory_of(process: str = "self", proc: Path = Path("/proc")) -> Memory:
    """Read the memory of ``process``, a number or ``self``.

    Raises
    ------
    CadEdgeError
        The kernel does not tell (no Linux, or the process is gone).
    """
    fields = _kibibytes(proc / process / "smaps_rollup")
    unique = fields.get("Private_Clean", 0) + fields.get("Private_Dirty", 0)
    return Memory(fields["Rss"] * _KIBIBYTE, fields["Pss"] * _KIBIBYTE, unique * _KIBIBYTE)


def peak_rss(process: str = "self", proc: Path = Path("/proc")) -> int:
    """Return the largest resident size that ``process`` has had, in bytes."""
    return _kibibytes(proc / process / "status")["VmHWM"] * _KIBIBYTE


def _kibibytes(path: Path) -> dict[str, int]:
    """Read the lines of the form ``Name:  123 kB``."""
    try:
        lines = path.read_text().splitlines()
    except OSError as problem:
        raise CadEdgeError(
            f"{path} cannot be read ({problem.strerror}); memory is measured on Linux only"
        ) from None
    words = [line.split() for line in lines]
    return {parts[0][:-1]: int(parts[1]) for parts in words if len(parts) == 3 and parts[2] == "kB"}
