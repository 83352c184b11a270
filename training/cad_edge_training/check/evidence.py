"""How many independent good parts there are, and which false-reject rate they support."""

from cad_edge.calibration import images_needed
from cad_edge_training.check.findings import Finding, counted


def supported_rate(independent: int) -> float | None:
    """Smallest false-reject rate that so many held-out parts support; None of none.

    The inverse of `cad_edge.calibration.images_needed`, n >= 1 / rate - 1.
    """
    return 1 / (independent + 1) if independent else None


def evidence_findings(task: str, distinct: int, groups: int | None, rate: float) -> list[Finding]:
    """Say where there are fewer good parts than the stated rate needs.

    Parameters
    ----------
    task
        Name of the product.
    distinct
        Good images, copies counted once.
    groups
        Groups that they stand in, if any are stated: images of one group are not independent.
    rate
        Stated false-reject rate, in (0, 1).
    """
    independent = distinct if groups is None else min(distinct, groups)
    needed = images_needed(rate)
    supported = supported_rate(independent)
    if supported is None or independent >= needed:
        return []
    have = counted(independent, "different good part" if groups is None else "group")
    said = (
        f"{have} support a false-reject rate of {100 * supported:.3g} %, and {100 * rate:.3g} % is "
        f"stated, which needs {needed}"
    )
    return [Finding(task=task, kind="too_few", level="warning", said=said)]
