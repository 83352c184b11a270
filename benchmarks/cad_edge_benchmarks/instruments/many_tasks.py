"""A hundred tasks from a few: copies of real artifacts that differ in one tensor a little.

The largest tensor of a copy, and its routing statistics, are the original's times (1 + n * 2^-22),
so that no two share an object in a bundle, while each costs what a real task costs. The others stay
as they are: some belong together, as a basis with its variances, and scaled apart they would be
another model than the one whose answers the witness holds. A copy's frames may be recognised as any
of the others.
"""

from pathlib import Path

import numpy as np

from cad_edge.store.artifact import Tensors, read_artifact, write_artifact

_STEP = 2.0**-22  # two to four steps of float32, far below the tolerance of a certificate


def multiply_artifacts(originals: list[Path], folder: Path, count: int) -> list[Path]:
    """Write copies of ``originals`` into ``folder`` until there are ``count`` tasks in all.

    Returns
    -------
    Folders of all ``count`` artifacts, the originals first.
    """
    found = list(originals)
    learned = [read_artifact(path) for path in originals]
    while len(found) < count:
        position = len(found)
        source = learned[position % len(learned)]
        number = position // len(learned)
        record = source.artifact.model_copy(
            update={"task": f"{source.artifact.task}-{position:03d}", "position": position}
        )
        routing = scaled(source.routing, 1.0 + number * _STEP)
        tensors = nearly_equal(source.tensors, number)
        found.append(write_artifact(folder, record, tensors, routing, source.witness))
    return found


def nearly_equal(tensors: Tensors, number: int) -> Tensors:
    """Return the tensors of copy ``number``: the largest one is scaled by a little."""
    largest = max(tensors, key=lambda name: (tensors[name].nbytes, name))
    return tensors | scaled({largest: tensors[largest]}, 1.0 + number * _STEP)


def scaled(tensors: Tensors, factor: float) -> Tensors:
    """Scale floating tensors; counts and indices stay."""
    return {
        name: (tensor * factor).astype(tensor.dtype)
        if np.issubdtype(tensor.dtype, np.floating)
        else tensor
        for name, tensor in tensors.items()
    }
