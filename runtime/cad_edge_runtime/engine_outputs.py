"""Outputs of an engine: what each must look like for so many frames, before there is a session."""

import math
from collections.abc import Sequence

from cad_edge.errors import BundleError, GraphError
from cad_edge_runtime.chain import ChainPlan
from cad_edge_runtime.graph_sizes import Feed
from cad_edge_runtime.graph_summary import FLOAT
from cad_edge_runtime.operator_shapes import Shape

DISTANCE = "distance"
SCORE = "score"
ANOMALY_MAP = "anomaly_map"
PROBABILITY = "probability"
LEVELS = "levels"
LEVEL_MAPS = "level_maps"

Feeds = dict[str, Feed]  # by name, as ``cad_edge_runtime.chain`` names them


def require_answers(plan: ChainPlan, given: Feeds, count: int, side: int) -> None:
    """Refuse an engine whose score, map or probability is not what an engine promises.

    Parameters
    ----------
    plan
        Of the engine.
    given
        What its stages give for ``count`` frames.
    side
        The largest height and width of a map.

    Raises
    ------
    GraphError
        An output has another shape or type.
    """
    for output in (SCORE, PROBABILITY):
        found = shape_in(plan, given, output)
        require_output(plan, given, output, found in (None, (count,)), f"({count},)")
    found = shape_in(plan, given, ANOMALY_MAP)
    fits = found is None or (found[:1] == (count,) and len(found) == 3 and _is_map(found[1:], side))
    require_output(plan, given, ANOMALY_MAP, fits, f"({count}, h, w) with up to {side} for each")


def require_levels(
    plan: ChainPlan, given: Feeds, count: int, side: int, names: Sequence[str], owner: str
) -> None:
    """Refuse an engine whose levels are not those that the manifest names.

    Parameters
    ----------
    plan, given, count, side
        As in `require_answers`. All level maps of a frame together have no more values than the
        largest anomaly map may have.
    names
        Of the levels; empty where the manifest names none.
    owner
        Whose engine it is, for messages.

    Raises
    ------
    BundleError
        There are levels without names, or names without levels.
    GraphError
        An output has another shape or type, or there are maps of levels and no levels.
    """
    last, many = plan.stages[-1].graph[:12], len(names)
    found, maps = shape_in(plan, given, LEVELS), shape_in(plan, given, LEVEL_MAPS)
    if found is None and maps is not None:
        raise GraphError(
            f"graph {last} gives {LEVEL_MAPS!r} without {LEVELS!r}; export the bundle again"
        )
    if found is None and names:
        raise BundleError(
            f"the manifest names levels of {owner}, and its graph {last} gives no {LEVELS!r}; "
            "export the bundle again"
        )
    if found is not None and not names:
        raise BundleError(
            f"graph {last} gives {LEVELS!r}, and the manifest names no level of {owner}; export "
            "the bundle again"
        )
    wanted = f"({count}, {many})"
    require_output(plan, given, LEVELS, found in (None, (count, many)), wanted)
    fits = maps is None or (
        maps[:2] == (count, many)
        and len(maps) == 4
        and _is_map(maps[2:], side)
        and math.prod(maps[1:]) <= side * side
    )
    wanted = f"({count}, {many}, h, w) with up to {side} for each and {side * side} together"
    require_output(plan, given, LEVEL_MAPS, fits, wanted)


def _is_map(shape: Shape, side: int) -> bool:
    return 0 < min(shape) <= max(shape) <= side


def shape_in(plan: ChainPlan, given: Feeds, output: str) -> Shape | None:
    """Shape of an output of the last stage, if it has it."""
    feed = given.get(f"{plan.stages[-1].name}/{output}")
    return None if feed is None else feed.shape


def require_output(plan: ChainPlan, given: Feeds, output: str, fits: bool, wanted: str) -> None:
    """Raise GraphError where the last stage gives an output that is not float32 and does not fit.

    Parameters
    ----------
    fits
        Whether its shape is as promised.
    wanted
        That shape, for the message.
    """
    last = plan.stages[-1]
    feed = given.get(f"{last.name}/{output}")
    if feed is not None and not (feed.elem_type == FLOAT and fits):
        raise GraphError(
            f"graph {last.graph[:12]} gives {output!r} as {feed} where float32 of shape "
            f"{wanted} is wanted; export the bundle again"
        )
