"""Preparation: everything about a version that can be refused before there is a session.

A detector prepares a version before it opens it, and `cad-edge verify` prepares it and opens
nothing, so both refuse the same in the same words. The sizes of all graphs are worked out for one
frame, stage by stage, from the recipe and the tensors that are bound.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from cad_edge.errors import BundleError, CadEdgeError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest, Pointer, TaskEntry
from cad_edge_runtime.chain import (
    ChainPlan,
    StagePlan,
    Wanted,
    depth_source,
    image_source,
    plan_chain,
    require_tensors,
)
from cad_edge_runtime.engine_outputs import (
    DISTANCE,
    SCORE,
    Feeds,
    require_answers,
    require_levels,
    require_output,
    shape_in,
)
from cad_edge_runtime.graph_sizes import Feed
from cad_edge_runtime.graph_summary import FLOAT, UINT8
from cad_edge_runtime.inventory import Inventory
from cad_edge_runtime.joint_tensors import tensor_lists, tensors_of

_TENSOR_BYTES = 1 << 28
_COPIES = 16  # of a tensor that several lists of joint objects hold

_COUNTS = (1, 2)
"""Frames that graphs are worked out for: where a batch of two is right, larger ones are."""


class Preparation:
    """A version that is being prepared.

    Parameters
    ----------
    manifest, pointer
        Of the version.
    inventory
        What its objects hold.
    """

    def __init__(self, manifest: Manifest, pointer: Pointer, inventory: Inventory) -> None:
        self.manifest = manifest
        self._pointer = pointer
        self._inventory = inventory
        self.tasks: dict[str, ChainPlan] = {}
        self.without_depth: dict[str, ChainPlan] = {}
        self.selector: ChainPlan | None = None

    def run(self) -> None:
        """Prepare everything; raise what is wrong first.

        Raises
        ------
        BundleError, GraphError
            Something of this version cannot be used.
        """
        for step in self.steps():
            step()

    def steps(self) -> Iterator[Callable[[], None]]:
        """Parts of the preparation that can be refused one by one."""
        yield self._check_path
        yield self._check_views
        yield self._check_selector
        for name, entry in self.manifest.tasks.items():
            yield partial(self._check_task, name, entry, self.tasks)
            if entry.without_depth is not None:
                yield partial(self._check_task, name, entry.without_depth, self.without_depth)
        yield self._check_tensors

    def _check_path(self) -> None:
        path = str(self._inventory.bundle.path)
        try:
            path.encode()
        except UnicodeEncodeError:
            shown = path.encode(errors="surrogateescape").decode(errors="replace")
            raise BundleError(
                f"the path {shown} is not UTF-8, and onnxruntime opens no other; rename the folder"
            ) from None

    def _check_views(self) -> None:
        """Refuse engines that look at different numbers of views of one frame."""
        entries = self.manifest.entries()
        engines = [self.manifest.selector.engine, *(entry.engine for entry in entries)]
        engines += [entry.explainer.engine for entry in entries if entry.explainer is not None]
        found = {engine.views for engine in engines}
        if len(found) > 1:
            raise BundleError(
                f"engines of version {self._pointer.version} look at "
                f"{' and '.join(map(str, sorted(found)))} views of a frame, where all must look at "
                "as many; export the bundle again"
            )

    def _check_selector(self) -> None:
        selector, tasks = self.manifest.selector, self.manifest.tasks
        unknown = [name for name in selector.tasks if name not in tasks]
        if unknown or len(set(selector.tasks)) != len(selector.tasks):
            what = f"{unknown[0]!r}, which is not a task of it" if unknown else "a task twice"
            raise BundleError(
                f"the selector of version {self._pointer.version} knows {what}; export the bundle "
                "again"
            )
        if not selector.tasks:
            return
        plan = plan_chain(selector.engine, (DISTANCE,), "the selector")
        for count in _COUNTS:
            given = self.chain(plan, plan.wanted(), "the selector", count)
            wanted = (count, len(selector.tasks))
            fits = wanted == shape_in(plan, given, DISTANCE)
            require_output(plan, given, DISTANCE, fits, f"{wanted}")
        self.selector = plan

    def _check_task(self, name: str, entry: TaskEntry, plans: dict[str, ChainPlan]) -> None:
        owner = f"task {name!r}"
        plan = plan_chain(entry.engine, (SCORE,), owner)
        for count in _COUNTS:
            given = self.chain(plan, plan.wanted(), owner, count)
            side = self._inventory.limits.map_side
            require_answers(plan, given, count, side)
            require_levels(plan, given, count, side, entry.levels, owner)
        plans[name] = plan

    def _check_tensors(self) -> None:
        """Refuse what takes many times the memory of what is stored."""
        engines = [self.manifest.selector.engine, *(one.engine for one in self.manifest.entries())]
        bound = {tuple(part) for engine in engines for part in tensor_lists(engine)}
        size = {sha: self._inventory.tensors(sha).bytes for part in bound for sha in part}
        taken = sum(size[sha] for part in bound for sha in part)
        if taken > max(_TENSOR_BYTES, _COPIES * sum(size.values())):
            raise BundleError(
                f"the tensors of version {self._pointer.version} take {taken >> 20} MiB in memory "
                f"and {sum(size.values()) >> 20} MiB on the disk; export the bundle again"
            )

    def chain(self, plan: ChainPlan, wanted: Wanted, owner: str, count: int = 1) -> Feeds:
        """Work out what the stages of an engine give for ``count`` frames.

        Returns
        -------
        dict
            The frame, and every output of every stage.
        """
        recipe, views = plan.engine.recipe, plan.engine.views
        pixels = recipe.height * recipe.width
        feeds: Feeds = {
            image_source(recipe): Feed((count * views, recipe.height, recipe.width, 3), UINT8),
            depth_source(recipe): Feed((count, recipe.height, recipe.width), FLOAT),
        }
        tensors = tensors_of(plan.engine, self._inventory, owner)
        for stage in plan.stages:
            needed = sorted(wanted[stage.name])
            self._inventory.graph(stage.graph, stage.inputs, needed)
            self.stage(stage, feeds, tensors, (3 * views * pixels, count), owner)
        return feeds

    def stage(
        self,
        stage: StagePlan,
        feeds: Feeds,
        tensors: Mapping[str, Feed],
        frames: tuple[int, int],
        owner: str,
        looped: Mapping[str, Feed] | None = None,
    ) -> Mapping[str, Feed]:
        """Return what one stage gives, and add it to ``feeds``.

        Parameters
        ----------
        stage
            Its graph has been asked for.
        feeds
            The frame, and what the stages before give.
        tensors
            Of the engine.
        frames
            Numbers in a frame, and how many frames there are.
        owner
            Whose stage it is, for messages.
        looped
            Inputs that are neither, by name.
        """
        require_tensors(stage, tensors, owner)
        given = {name: feeds[value] for name, value in stage.sources}
        given |= {name: tensors[tensor] for name, tensor in stage.tensors}
        found = self._inventory.outputs(stage.graph, {**given, **(looped or {})}, *frames)
        feeds.update({f"{stage.name}/{output}": feed for output, feed in found.items()})
        return found


def prepared_version(bundle: Bundle, pointer: Pointer, inventory: Inventory) -> Preparation:
    """Check everything of a version that needs no session.

    Raises
    ------
    BundleError, GraphError
        Something of it cannot be used; a byte that is not as written comes before anything else.
    """
    inventory.begin()
    manifest = bundle.manifest(pointer)
    prepared = Preparation(manifest, pointer, inventory)
    try:
        prepared.run()
    except CadEdgeError:
        for sha in sorted(manifest.objects()):
            inventory.hashed(sha)
        raise
    return prepared
