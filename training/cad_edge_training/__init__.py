"""Workstation side of cad-edge: learns products from images of good parts, writes artifacts.

`learn` does what `cad-edge train` does. It is imported when it is first asked for, so that the
package alone stays light.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cad_edge_training.product_training import TrainingResult, learn

# Here, since it has to come before torch loads its threads: those that spin while they wait slow
# learning tenfold and more as soon as another program needs a core, and gain nothing that was
# measured when none does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["TrainingResult", "learn"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the imports above
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cad_edge_training import product_training

    return getattr(product_training, name)
