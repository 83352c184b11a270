"""Taking back what a failing export has stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cad_edge.store.objects import ObjectStore


@contextmanager
def discard_on_failure(bundle: Path) -> Iterator[None]:
    """Remove the objects that a failing block added; the caller holds the bundle's lock.

    The commit must be outside: once a version is in force, its objects stay whatever happens.
    """
    store = ObjectStore(bundle / "objects")
    before = set(store.stored())
    try:
        yield
    except BaseException:
        for sha in sorted(set(store.stored()) - before):
            store.discard(sha)
        raise
