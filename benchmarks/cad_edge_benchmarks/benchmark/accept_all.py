"""A version that accepts every frame, so that synthetic frames cost what good parts cost.

A synthetic frame shows no product. As the bundle stands it would be refused after half the work,
or, with its task given, be one large defect whose outlines take longer than all the rest. Here
only decisions differ, which are numbers in the manifest: graphs and tensors are the bundle's own.
"""

import os
import shutil
from pathlib import Path

from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import TaskEntry

_BEYOND = 1e30  # beyond every distance, score and map value


def accept_all_version(bundle: Path, place: Path) -> Path:
    """Write a version of ``bundle`` that accepts all into the new folder ``place``; return it."""
    place.mkdir()
    shutil.copytree(bundle / "objects", place / "objects", copy_function=_linked)
    manifest = Bundle(bundle).manifest()
    tasks = {name: _accepting_all(entry) for name, entry in manifest.tasks.items()}
    store = Bundle(place)
    with store.lock():
        store.commit(manifest.model_copy(update={"version": 1, "previous": None, "tasks": tasks}))
    return place


def _linked(source: str, target: str) -> None:
    """Give a file a second name, which takes no room; a copy where that is on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _accepting_all(entry: TaskEntry) -> TaskEntry:
    """Return ``entry`` with a radius and thresholds that no frame exceeds, for any depth."""
    localises = entry.decision.map_threshold is not None
    decision = entry.decision.model_copy(
        update={"threshold": _BEYOND, "map_threshold": _BEYOND if localises else None}
    )
    other = entry.without_depth
    return entry.model_copy(
        update={
            "radius": _BEYOND,
            "recognition": None,
            "decision": decision,
            "depth": None,
            "without_depth": None if other is None else _accepting_all(other),
        }
    )
