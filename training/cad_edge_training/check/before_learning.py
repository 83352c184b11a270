"""What `cad-edge train` says of the images before it learns from them."""

from collections.abc import Sequence

from cad_edge.data.stream import StreamTask
from cad_edge_training.backbones import DEFAULT_BACKBONE, load_backbone
from cad_edge_training.check.findings import Finding, summary_lines
from cad_edge_training.check.product import CheckOptions, check_product


def lines_before_learning(tasks: Sequence[StreamTask], rate: float, limit: int = 5) -> list[str]:
    """Say the gravest findings on products that are about to be learned.

    Test images are held against training alone, and odd ones are named after learning, by their
    held-out scores. Nothing here stops the learning, which says itself
    what it cannot read.

    Parameters
    ----------
    tasks
        Products to be learned.
    rate
        Stated false-reject rate, in (0, 1).
    limit
        Most lines.
    """
    found: list[Finding] = []
    try:
        options = CheckOptions(load_backbone(DEFAULT_BACKBONE), rate, tests=False, outliers=False)
        for task in tasks:
            found += check_product(task, options, _silent).findings
    except Exception as problem:  # whatever it is, learning goes on and meets it again or not
        return [*summary_lines(found, limit - 1), f"the images were not all checked: {problem}"]
    return summary_lines(found, limit)


def _silent(doing: str, done: int, total: int) -> None:
    """Show nothing: a product takes a few seconds."""
