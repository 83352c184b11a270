"""Light that drifts: a trend of brightness over the order of files, or over the time of files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from cad_edge_training.check.files import DecodedImage
from cad_edge_training.check.findings import EvidenceImages, Finding

FEWEST = 10  # images for a trend
CERTAIN = 1e-3  # p-value of Spearman's rank correlation
STEADY = 0.4  # and its least size: with many images the faintest trend is certain
GREY_LEVELS = 4.0  # over all images; below it no network is bothered
SHARE = 0.02  # of the pixels that are clipped, over all images
APART = 60.0  # seconds from the first to the last file; copying files takes less
_TAKEN = (36867, 306)  # EXIF: DateTimeOriginal, DateTime


@dataclass(frozen=True)
class Trend:
    """How much a value changes along the images."""

    change: float
    """From the first image to the last, by the median slope of all pairs (Theil and Sen)."""
    rank_correlation: float
    p_value: float

    def certain(self, least: float) -> bool:
        """Whether it is a drift and large enough to matter."""
        return (
            self.p_value < CERTAIN
            and abs(self.rank_correlation) >= STEADY
            and abs(self.change) >= least
        )


def trend(values: Sequence[float]) -> Trend | None:
    """Trend of values in their order; None where there are too few or all are equal.

    Parameters
    ----------
    values
        One for each image, in the order in which a drift is looked for.
    """
    if len(values) < FEWEST or np.ptp(values) == 0:
        return None
    places = np.arange(len(values), dtype=np.float64)
    ranked = stats.spearmanr(places, values)
    slope = stats.theilslopes(values, places).slope
    return Trend(float(slope) * (len(values) - 1), float(ranked.statistic), float(ranked.pvalue))


def exposure_findings(
    task: str, good: Sequence[DecodedImage], groups: Sequence[str] | None = None
) -> list[Finding]:
    """Look for drifts of brightness and clipping among good parts.

    Parameters
    ----------
    task
        Name of the product.
    good
        Images in the order of their names.
    groups
        Group of every image, if there are any: images of one are taken together, since they share
        their light, and a few groups make no trend.
    """
    found = _drift(good, list(range(len(good))), groups)
    order = "the order of files"
    times = None if found else taken([seen.source.path for seen in good])
    if times is not None:
        found = _drift(good, np.argsort(times, kind="stable").tolist(), groups)
        order = "the time of files"
    if found is None:
        return []
    said = (
        f"{found.said} over {order}; steady the light and the camera's gain, or learn from images "
        "of all of it"
    )
    quarters = [round((len(good) - 1) * quarter / 4) for quarter in range(5)]
    shown = EvidenceImages(
        images=tuple(good[found.order[place]].source.path for place in quarters),
        said="from the first to the last",
        figures=found.figures,
    )
    return [Finding(task=task, kind="drift", level="warning", said=said, exhibits=(shown,))]


@dataclass(frozen=True)
class _Drift:
    """What drifts, in which order of the images."""

    said: str
    order: list[int]
    figures: dict[str, float]


def _drift(
    good: Sequence[DecodedImage], order: list[int], groups: Sequence[str] | None
) -> _Drift | None:
    """Find what drifts along ``order``, None where the light is steady."""
    values = np.array([[good[n].mean, good[n].black, good[n].white] for n in order])
    if groups is not None:
        names = [groups[number] for number in order]
        members = [np.array([one == name for one in names]) for name in dict.fromkeys(names)]
        values = np.array([values[own].mean(axis=0) for own in members])
    for name, column, least in (("mean", 0, GREY_LEVELS), ("black", 1, SHARE), ("white", 2, SHARE)):
        found = trend(values[:, column].tolist()) if len(values) else None
        if found is None or not found.certain(least):
            continue
        verb = "rises" if found.change > 0 else "falls"
        if name == "mean":
            said = f"brightness {verb} by {abs(found.change):.0f} grey levels"
        else:
            said = f"the share of {name} pixels {verb} by {100 * abs(found.change):.0f} %"
        return _Drift(said, order, _figures(name, found))
    return None


def _figures(name: str, found: Trend) -> dict[str, float]:
    return {
        f"{name}_change": found.change,
        "rank_correlation": found.rank_correlation,
        "p": found.p_value,
    }


def taken(paths: Sequence[Path]) -> NDArray[np.float64] | None:
    """When images were taken, in seconds; None where their files do not tell.

    The camera's time in the file counts; where one file lacks it, the time of the last change does,
    unless all were written within a minute, which is when somebody copied them.
    """
    exif = [_camera_time(path) for path in paths]
    if all(time is not None for time in exif):
        times = np.array(exif, dtype=np.float64)
    else:
        times = np.array([path.stat().st_mtime for path in paths])
    apart = len(times) > 1 and float(np.ptp(times)) >= APART
    return times if apart else None


def _camera_time(path: Path) -> float | None:
    """Time that the camera wrote, in seconds of some epoch."""
    try:
        with Image.open(path) as image:
            exif = image.getexif()
            written = exif.get_ifd(0x8769).get(_TAKEN[0]) or exif.get(_TAKEN[1])
        date, _, clock = str(written).strip("\x00 ").partition(" ")
        moment = np.datetime64(f"{date.replace(':', '-')}T{clock}").astype("M8[s]")
        return float(moment.astype(np.float64))
    except (OSError, ValueError, SyntaxError):
        return None
