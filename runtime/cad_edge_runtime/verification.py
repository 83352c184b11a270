"""Verification: what a detector would refuse of a bundle, all of it and without ONNX Runtime.

It goes through the preparation that opening goes through (``preparation.py``), and on after what it
finds. `try_out` is the other half: a detector is opened, and every product inspects a frame.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cad_edge.errors import BundleError, CadEdgeError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import TaskEntry
from cad_edge_runtime.detector import Detector
from cad_edge_runtime.explainer_check import explainer_steps
from cad_edge_runtime.frames import Sample
from cad_edge_runtime.graph_summary import GraphLimits
from cad_edge_runtime.inventory import Inventory, require_size
from cad_edge_runtime.preparation import Preparation, prepared_version

_GREY = 128
_TOKENS = 2  # of an answer in words, to see that one comes


def problems_of(bundle: Bundle) -> list[str]:
    """List what is wrong with a bundle, a sentence each; none where a device would open it.

    Parameters
    ----------
    bundle
        Whose bytes, history and version in force are looked at.
    """
    try:
        found = _too_large(bundle) or bundle.verify()
    except BundleError as problem:  # a folder of it cannot be listed
        return [str(problem)]
    if found:
        return [
            str(BundleError(problem)) for problem in found
        ]  # what is said of changed bytes would be about no version

    def attempt(step: Callable[[], object]) -> None:
        try:
            step()
        except CadEdgeError as problem:
            found.append(str(problem))

    pointer = bundle.pointer()
    manifest = bundle.manifest(pointer.manifest)
    inventory = Inventory(bundle)
    prepared = Preparation(manifest, pointer, inventory)
    for step in (*prepared.steps(), *explainer_steps(prepared, inventory)):
        attempt(step)
    return list(dict.fromkeys(found))


def refusal_of(bundle: Bundle) -> str | None:
    """Say why a device would not open the version in force; None where it would.

    What lies beside that version, older ones and files that belong to none, has no say in it.

    Parameters
    ----------
    bundle
        Whose version in force is prepared, without ONNX Runtime, and whose objects are hashed.
    """
    inventory = Inventory(bundle)
    try:
        prepared = prepared_version(bundle, bundle.pointer(), inventory)
        for step in explainer_steps(prepared, inventory):
            step()
        for sha in sorted(prepared.manifest.objects()):
            inventory.hashed(sha)
    except CadEdgeError as problem:
        return str(problem)
    return None


def _too_large(bundle: Bundle) -> list[str]:
    """Say which objects have more bytes than any, before anything is hashed."""
    found = []
    for folder in bundle.object_folders():
        try:
            require_size(folder, GraphLimits())
        except BundleError as problem:
            found.append(str(problem))
    return found


def try_out(path: Path, device: str) -> list[str]:
    """Open a bundle and inspect a grey frame of every product; list what fails, a sentence each.

    Parameters
    ----------
    path
        Of the bundle.
    device
        What graphs run on.
    """
    found: list[str] = []
    try:
        with Detector.open(path, device, watch=False) as detector:
            _inspect(detector, found)
    except CadEdgeError as problem:
        found.append(str(problem))
    return list(dict.fromkeys(found))


def _inspect(detector: Detector, found: list[str]) -> None:
    manifest = detector.manifest

    def attempt(step: Callable[[], object]) -> None:
        try:
            step()
        except CadEdgeError as problem:
            found.append(str(problem))

    for name, entry in manifest.tasks.items():
        image = _grey(entry)
        depth = _plane(entry)
        attempt(partial(detector.detect, image, name, depth))
        if entry.without_depth is not None:
            attempt(partial(detector.detect, image, name))
        if entry.explainer is not None:
            attempt(partial(detector.explain, image, None, _TOKENS, name, depth))
    if manifest.selector.tasks:
        entry = manifest.tasks[manifest.selector.tasks[0]]
        attempt(partial(detector.detect, _grey(entry), None, _plane(entry)))


def _grey(entry: TaskEntry) -> Sample:
    recipe, views = entry.engine.recipe, entry.engine.views
    frame = np.full((recipe.height, recipe.width, 3), _GREY, np.uint8)
    return frame if views == 1 else [frame] * views


def _plane(entry: TaskEntry) -> NDArray[np.float32] | None:
    """Depth in the middle of the product's range, where it looks at depth."""
    if entry.depth is None:
        return None
    recipe = entry.engine.recipe
    middle = (entry.depth.low + entry.depth.high) / 2
    return np.full((recipe.height, recipe.width), middle, np.float32)
