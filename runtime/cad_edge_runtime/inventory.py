"""Inventory: what the objects of a bundle hold, as far as no session is needed to tell.

Graphs are hashed and walked, tensor files give their headers. What was seen is kept, so that the
next version of a bundle looks at nothing that this one has seen.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cad_edge.errors import BundleError, GraphError
from cad_edge.store.bundle import Bundle
from cad_edge_runtime.graph_check import check_graph, require_ports
from cad_edge_runtime.graph_sizes import Feed, sizes_of
from cad_edge_runtime.graph_summary import GraphLimits, GraphSummary
from cad_edge_runtime.protobuf import WireError
from cad_edge_runtime.tensor_file import TensorFile, read_header

_MOST_SIZES = 4096  # kept: a graph that tasks share has some for each that ever was
_Feeds = tuple[tuple[str, Feed], ...]


def require_size(folder: Path, limits: GraphLimits) -> None:
    """Raise BundleError where an object has more bytes than any; hashing them would take hours."""
    try:
        with os.scandir(folder) as entries:
            size = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        return  # the one who reads it says what is wrong
    if size > limits.folder_bytes:
        raise BundleError(
            f"{folder} has {size} bytes, and no object has more than {limits.folder_bytes}; copy "
            "the bundle again"
        )


class Inventory:
    """What the objects of one bundle hold; safe from several threads.

    Parameters
    ----------
    bundle
        Whose objects.
    limits
        What graphs may ask for.
    """

    def __init__(self, bundle: Bundle, limits: GraphLimits | None = None) -> None:
        self.bundle = bundle
        self.limits = GraphLimits() if limits is None else limits
        self._graphs: dict[str, GraphSummary] = {}
        self._files: dict[str, TensorFile] = {}
        self._sizes: dict[tuple[str, _Feeds, tuple[int, int]], dict[str, Feed]] = {}
        self._fresh: set[str] = set()

    def graph(self, sha: str, inputs: Sequence[str], outputs: Sequence[str]) -> GraphSummary:
        """Walk a graph that takes exactly ``inputs`` and gives ``outputs``, at least.

        Raises
        ------
        IntegrityError, GraphError
            The bytes are not what the sha256 says, or the graph is refused.
        """
        known = self._graphs.get(sha)
        if known is None:
            known = check_graph(self.hashed(sha), inputs, outputs, self.limits)
            self._graphs[sha] = known
            self._fresh.add(sha)
        else:
            require_ports(self.bundle.object_folder(sha), known, inputs, outputs)
        return known

    def folder(self, sha: str) -> Path:
        """Return the folder of a graph whose bytes have just been hashed, for one session.

        Raises
        ------
        IntegrityError
            They are not what the sha256 says.
        """
        try:
            self._fresh.remove(sha)
        except KeyError:
            return self.hashed(sha)
        return self.bundle.object_folder(sha)

    def hashed(self, sha: str) -> Path:
        """Return the folder of an object after hashing all of it, unless it is too large for that.

        Raises
        ------
        IntegrityError, BundleError
            Its bytes are not what the sha256 says, or there are more than any object has.
        """
        require_size(self.bundle.object_folder(sha), self.limits)
        return self.bundle.verify_object(sha)

    def begin(self) -> None:
        """Forget that anything has just been hashed: something else is opened now."""
        self._fresh.clear()

    def outputs(
        self, sha: str, feeds: Mapping[str, Feed], frame: int, frames: int = 1
    ) -> Mapping[str, Feed]:
        """Work out what a graph gives for its inputs.

        Parameters
        ----------
        feeds
            Every input by name.
        frame
            Numbers in a frame.
        frames
            How many of them there are at once.

        Raises
        ------
        GraphError
            The inputs do not fit the graph, or it asks for more than the limits allow.
        """
        key = sha, tuple(sorted(feeds.items())), (frame, frames)
        known = self._sizes.get(key)
        if known is None:
            summary = self.graph(sha, list(feeds), ())  # another thread may have forgotten it
            try:
                known = sizes_of(summary, feeds, self.limits, frame, frames)
            except WireError as problem:
                path = self.bundle.object_folder(sha) / "graph.onnx"
                raise GraphError(f"{path} is refused: {problem}; export the bundle again") from None
            self._sizes[key] = known
        return known

    def tensors(self, sha: str) -> TensorFile:
        """Header of a tensor object's file; BundleError where it is broken."""
        known = self._files.get(sha)
        if known is None:
            known = read_header(self.bundle.object_folder(sha), sha)
            self._files[sha] = known
        return known

    def keep(self, objects: set[str]) -> None:
        """Forget what is not of ``objects``."""
        self._graphs = {sha: one for sha, one in [*self._graphs.items()] if sha in objects}
        self._files = {sha: one for sha, one in [*self._files.items()] if sha in objects}
        sizes = [(key, one) for key, one in [*self._sizes.items()] if key[0] in objects]
        self._sizes = dict(sizes[-_MOST_SIZES:])
