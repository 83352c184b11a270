"""Tensors that an engine is bound to, from the headers of its objects alone.

Several engines may name the same joint objects; a tensor that more than one of them holds is their
concatenation along the first axis.
"""

from collections.abc import Sequence

from cad_edge.errors import BundleError
from cad_edge.store.manifest import Engine
from cad_edge_runtime.graph_sizes import Feed
from cad_edge_runtime.inventory import Inventory


def tensors_of(engine: Engine, inventory: Inventory, owner: str) -> dict[str, Feed]:
    """Return the tensors of an engine by name, joint ones as they are concatenated.

    Parameters
    ----------
    engine
        As the manifest has it.
    inventory
        What its objects hold.
    owner
        Whose engine it is, for messages.

    Raises
    ------
    BundleError
        An object is named twice, cannot be read, or does not fit the others.
    """
    found: dict[str, Feed] = {}
    for part in reversed(tensor_lists(engine)):
        if len(set(part)) != len(part):
            raise BundleError(
                f"{owner} names one object of joint tensors twice; export the bundle again"
            )
        found |= _joined(part, inventory)
    return found


def _joined(objects: Sequence[str], inventory: Inventory) -> dict[str, Feed]:
    found: dict[str, Feed] = {}
    for sha in objects:
        for name, tensor in inventory.tensors(sha).tensors.items():
            before = found.get(name)
            feed = Feed(tensor.shape, tensor.elem_type)
            found[name] = feed if before is None else _concatenated(name, before, feed)
    return found


def tensor_lists(engine: Engine) -> list[list[str]]:
    """Objects of an engine that are read together: its own, and joint ones."""
    own = [] if engine.tensors is None else [[engine.tensors]]
    return own + ([engine.joint] if engine.joint else [])


def _concatenated(name: str, before: Feed, further: Feed) -> Feed:
    fits = before.elem_type == further.elem_type and before.shape[1:] == further.shape[1:]
    if not fits or len(before.shape) != len(further.shape) or not before.shape:
        raise BundleError(
            f"the tensors {name[:80]!r} of joint objects do not fit together; export the bundle "
            "again"
        )
    return Feed((before.shape[0] + further.shape[0], *before.shape[1:]), before.elem_type)
