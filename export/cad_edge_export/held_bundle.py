"""What a device refuses, the exporter refuses: before it adds to a bundle, and before it commits.

An engine that was added to a version which no device opens would be lost with it, so both go
through the check that a detector makes before it has a session.
"""

from cad_edge.data.folder import is_hidden
from cad_edge.errors import BundleError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest, Pointer
from cad_edge_runtime.explainer_check import explainer_steps
from cad_edge_runtime.inventory import Inventory
from cad_edge_runtime.preparation import Preparation, prepared_version

_OF_A_BUNDLE = frozenset({"bundle.json", "objects", "manifests", "signatures"})


def require_own_folder(bundle: Bundle) -> None:
    """Refuse to make a bundle in a folder that holds something else, such as images or artifacts.

    Raises
    ------
    BundleError
        It does, or cannot be read.
    """
    if bundle.exists():
        return
    try:
        names = sorted(path.name for path in bundle.path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return  # made, or refused, where it is written
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise BundleError(f"{bundle.path} cannot be read: {reason}; give another folder") from None
    others = [name for name in names if name not in _OF_A_BUNDLE and not is_hidden(name)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise BundleError(
            f"{bundle.path} is no bundle and holds {others[0]}{more}; give a bundle, or a folder "
            "that is empty or not there yet"
        )


def require_held(bundle: Bundle) -> None:
    """Refuse to add to a bundle whose version in force no device would open.

    Parameters
    ----------
    bundle
        Which may hold no version yet.

    Raises
    ------
    BundleError, GraphError
        What the device would say.
    """
    if bundle.exists():
        inventory = Inventory(bundle)
        prepared = prepared_version(bundle, bundle.pointer(), inventory)
        for step in explainer_steps(prepared, inventory):
            step()


def require_openable(bundle: Bundle, manifest: Manifest) -> None:
    """Refuse to commit a version that no device would open.

    Parameters
    ----------
    bundle
        Holds every object that the manifest names.
    manifest
        Of the version that is to be.

    Raises
    ------
    BundleError, GraphError
        What the device would say.
    """
    inventory = Inventory(bundle)
    pointer = Pointer(manifest="0" * 64, version=manifest.version)
    prepared = Preparation(manifest, pointer, inventory)
    for step in (*prepared.steps(), *explainer_steps(prepared, inventory)):
        step()
