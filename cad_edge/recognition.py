"""When a frame shows a product: by its distance, and in between by how strange its map is.

A defect is local, another product is strange everywhere. Up to the distance R that 99 % of the
product's own held-out images keep to, a frame surely shows the product; beyond 5 R it surely does
not. In between its engine runs, and the lower quartile of the anomaly map decides, the more
strictly the farther away the frame is. docs/decisions/0003-route-early.md says why.
"""

import math

from cad_edge.calibration import Calibration, conformal_threshold, decision_threshold
from cad_edge.routing import SURE_RATE
from cad_edge.store.manifest import Recognition, TaskEntry

OUTER = 5.0  # radii beyond which nothing is of the product
# Without maps there is nothing to ask in between, and one radius has to do: a defect moves a frame
# too, and must not turn a known product into an unknown one.
REJECTION_MARGIN = 1.4
MAP_RATE = 0.05  # stated, for the map threshold that strangeness is measured by
LIMIT = 0.55


def recognised(entry: TaskEntry, sure: float) -> TaskEntry:
    """Return a task with the rule by which its frames are recognised.

    Parameters
    ----------
    entry
        The task; what answers its frames without depth gets the rule of its own maps.
    sure
        Distance up to which a frame surely shows the product.
    """
    found = recognition_of(entry.calibration, sure)
    other = entry.without_depth
    return entry.model_copy(
        update={
            "radius": (REJECTION_MARGIN if found is None else OUTER) * sure,
            "recognition": found,
            "without_depth": None if other is None else recognised(other, sure),
        }
    )


def recognition_of(calibration: Calibration, sure: float) -> Recognition | None:
    """Return the rule for frames that are not sure.

    None where no maps were held out, or where those of good parts are as strange everywhere as they
    are at their strangest place.
    """
    if not calibration.map_quartiles or not calibration.map_peaks:
        return None
    level = conformal_threshold(calibration.map_quartiles, SURE_RATE)
    span = decision_threshold(calibration.map_peaks, MAP_RATE) - level
    if not (math.isfinite(level) and math.isfinite(span) and span > 0):
        return None
    return Recognition(sure=sure, map_level=level, map_span=span, limit=LIMIT)


def shows_product(recognition: Recognition, ratio: float, quartile: float) -> bool:
    """Tell whether a frame that is not sure shows the product.

    Parameters
    ----------
    recognition
        The product's rule.
    ratio
        Distance by ``recognition.sure``.
    quartile
        Lower quartile of the frame's anomaly map.

    Returns
    -------
    bool
        False for anything that is not a number.
    """
    strangeness = (quartile - recognition.map_level) / recognition.map_span
    return strangeness * math.sqrt(ratio) <= recognition.limit
