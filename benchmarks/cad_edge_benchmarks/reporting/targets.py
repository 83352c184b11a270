"""What has to be reached, and whether it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cad_edge_benchmarks.reporting.tables import text_table


@dataclass(frozen=True)
class Target:
    """One figure with its limit; ``reached`` is None where it was not measured."""

    what: str
    bound: Literal["at least", "at most"]
    limit: float
    value: float | None
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the figure keeps its limit."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.bound == "at least" else self.value <= self.limit

    def record(self) -> dict[str, object]:
        """Lay out for a result file."""
        return {
            "what": self.what,
            "bound": self.bound,
            "limit": self.limit,
            "value": self.value,
            "unit": self.unit,
            "reached": self.reached,
        }


_ANSWER = {True: "reached", False: "NOT reached", None: "not measured"}


HEAD = ("must reach", "limit", "measured", "")


def target_rows(targets: Sequence[Target]) -> list[list[str]]:
    """One row per target, with what `HEAD` says."""
    return [
        [
            target.what,
            f"{target.bound} {target.limit:g} {target.unit}".strip(),
            "-" if target.value is None else f"{target.value:.4g} {target.unit}".strip(),
            _ANSWER[target.reached],
        ]
        for target in targets
    ]


def targets_table(targets: Sequence[Target]) -> str:
    """Lay out targets for a terminal."""
    return text_table(HEAD, target_rows(targets))
