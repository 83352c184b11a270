"""What an explainer can be refused for before there is a session, as `preparation` does for tasks.

The decoder is looked at twice: reading the frame with a long question, and reading the last token
that a dialogue can have. A question as long as the dialogue is the asker's own doing.
"""

from collections.abc import Callable, Iterator
from functools import partial

from cad_edge.errors import BundleError, GraphError
from cad_edge.store.manifest import Explainer
from cad_edge_runtime.decoding import EMBEDDINGS, KEYS, OUTPUTS, VALUES
from cad_edge_runtime.engine_outputs import Feeds
from cad_edge_runtime.explainer_plan import ExplainerPlan, plan_explainer
from cad_edge_runtime.graph_sizes import Feed
from cad_edge_runtime.graph_summary import FLOAT, HALF
from cad_edge_runtime.inventory import Inventory
from cad_edge_runtime.joint_tensors import tensors_of
from cad_edge_runtime.preparation import Preparation
from cad_edge_runtime.tokens import TOKENIZER

_EMBEDDING = "embedding"
_QUESTION = 512  # tokens around the frame's


def check_explainer(
    record: Explainer, preparation: Preparation, inventory: Inventory, owner: str
) -> ExplainerPlan:
    """Resolve an explainer's sources and work out its sizes.

    Parameters
    ----------
    record
        As the manifest has it.
    preparation
        Of the same version.
    inventory
        What its objects hold.
    owner
        Whose explainer it is, for messages.

    Raises
    ------
    BundleError, GraphError
        Something of it cannot be used.
    """
    plan = plan_explainer(record, owner)
    width = _width(record, inventory)
    if not (inventory.bundle.object_folder(record.tokenizer) / TOKENIZER).is_file():
        raise BundleError(
            f"object {record.tokenizer} holds no {TOKENIZER}; export the bundle again"
        )
    feeds = preparation.chain(plan.looking, plan.wanted, owner)
    seen = feeds[plan.tokens]
    views = record.engine.views
    if seen.elem_type != FLOAT or len(seen.shape) != 3 or seen.shape[::2] != (views, width):
        raise GraphError(
            f"{owner} sees {seen} where its embedding is {width} wide; export the bundle again"
        )
    first = min(record.positions, views * seen.shape[1] + _QUESTION)
    for new, old in ((first, 0), (1, record.positions - 1)):
        _check_decoder(record, plan, dict(feeds), (new, old, width), preparation, inventory, owner)
    return plan


def explainer_steps(
    preparation: Preparation, inventory: Inventory
) -> Iterator[Callable[[], ExplainerPlan]]:
    """Check every explainer of a version, each on its own."""
    for name, entry in preparation.manifest.tasks.items():
        if entry.explainer is not None:
            owner = f"the explainer of task {name!r}"
            yield partial(check_explainer, entry.explainer, preparation, inventory, owner)


def _width(record: Explainer, inventory: Inventory) -> int:
    """Width of the embedding."""
    table = inventory.tensors(record.embedding).tensors.get(_EMBEDDING)
    if table is None or len(table.shape) != 2 or table.elem_type not in (FLOAT, HALF):
        raise BundleError(
            f"object {record.embedding} holds no table {_EMBEDDING!r} (vocabulary, width) of F32 "
            "or F16; export the bundle again"
        )
    return table.shape[1]


def _check_decoder(
    record: Explainer,
    plan: ExplainerPlan,
    feeds: Feeds,
    tokens: tuple[int, int, int],
    preparation: Preparation,
    inventory: Inventory,
    owner: str,
) -> None:
    """Work out what the decoder gives for (new tokens, tokens before, width)."""
    new, old, width = tokens
    inventory.graph(record.decoder.graph, list(record.decoder.inputs), OUTPUTS)
    cache = Feed((record.layers, 1, record.kv_heads, old, record.head_width), FLOAT)
    looped = {EMBEDDINGS: Feed((1, new, width), FLOAT), KEYS: cache, VALUES: cache}
    fixed = {name: looped[source] for name, source in plan.loop}
    tensors = tensors_of(record.engine, inventory, owner)
    found = preparation.stage(plan.decoder, feeds, tensors, (0, 1), owner, fixed)
    wanted = Feed((*cache.shape[:3], new + old, cache.shape[4]), FLOAT)
    logits = found["logits"]
    vocabulary = logits.shape[1] if len(logits.shape) == 2 else 0
    if found["keys"] != wanted or found["values"] != wanted or not vocabulary:
        raise GraphError(
            f"graph {record.decoder.graph[:12]} gives logits of {logits}, keys of {found['keys']} "
            f"and values of {found['values']}, where the manifest says {wanted} for both; export "
            "the bundle again"
        )
    if logits != Feed((1, vocabulary), FLOAT):
        raise GraphError(
            f"graph {record.decoder.graph[:12]} gives logits of {logits}, not float32 "
            "of shape (1, vocabulary); export the bundle again"
        )
