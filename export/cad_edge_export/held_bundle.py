"""What a device refuses, the exporter refuses: before it adds to a bundle, and before it commits.

An engine that was added to a version which no device opens would be lost with it, so both go
through the check that a detector makes before it has a session.
"""

from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest, Pointer
from cad_edge_runtime.explainer_check import explainer_steps
from cad_edge_runtime.inventory import Inventory
from cad_edge_runtime.preparation import Preparation, prepared_version


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
