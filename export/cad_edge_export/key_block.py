"""The block whose patches are the key sets of a bundle's tasks: one, or they cannot be compared."""

from collections.abc import Sequence

from cad_edge.errors import ArtifactError, OptionError
from cad_edge.store.artifact import LearnedTask
from cad_edge.store.manifest import Manifest, SelectorKind
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods import saved_config
from cad_edge_training.routing_statistics import key_blocks


def require_one_key_block(
    kind: SelectorKind, before: Manifest | None, new: Sequence[LearnedTask], backbone: Backbone
) -> None:
    """Refuse key sets that methods, or options of one, have taken from different blocks.

    Parameters
    ----------
    kind
        Of the selector that is to be; a discriminant compares descriptors, which are the
        backbone's alone.
    before
        The bundle before this export.
    new
        Tasks that it lacks.
    backbone
        Of the selector.

    Raises
    ------
    OptionError
        Tasks differ in the block of their keys.
    """
    if kind != "key_set":
        return
    held = before.tasks.items() if before else ()
    learned = [(name, entry.method, entry.hyperparameters) for name, entry in held]
    learned += [
        (one.artifact.task, one.artifact.method, one.artifact.hyperparameters) for one in new
    ]
    found: dict[int, str] = {}
    for name, method, options in learned:
        try:
            config = saved_config(name, method, options)
        except ArtifactError:
            continue  # of an earlier version; what it was learned with then is not known here
        found.setdefault(key_blocks(backbone, config)[-1], f"{name} ({method})")
    if len(found) > 1:
        keys = " and ".join(f"{task} after block {block}" for block, task in found.items())
        raise OptionError(
            f"--selector key_set compares keys from one block, and those of {keys} are not; give "
            "--selector discriminant"
        )
