"""Localisation metrics over all pixels of a task's test set.

Pixels are gathered image by image as float32 and normal pixels are sorted in place, so that 150
maps of 512 x 512 take about 0.4 GB. AUPRO is the mean overlap of 8-connected defect regions
against the false positive rate over normal pixels (those of good and of defective images outside
the mask), integrated up to a rate of 0.3 and divided by 0.3.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cad_edge_benchmarks.instruments.metrics import rank
from cad_edge_runtime.defects import components

PRO_LIMIT = 0.3
"""False positive rate up to which region overlap is integrated."""


@dataclass(frozen=True)
class PixelMetrics:
    """Localisation of one task; None where a class of pixels is missing."""

    auroc: float | None
    ap: float | None
    aupro: float | None


@dataclass
class PixelScores:
    """Pixels of one test set, gathered image by image."""

    _positives: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _weights: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _negatives: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, anomaly_map: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None) -> None:
        """Add one image.

        Parameters
        ----------
        anomaly_map : (height, width) float32
            Higher is more anomalous; infinite where the whole frame is refused.
        mask : (height, width) bool or None
            True on the defect; None for an image of a good part.

        Raises
        ------
        ValueError
            Map and mask differ in size.
        """
        if mask is None or not mask.any():
            self._negatives.append(anomaly_map.astype(np.float32).ravel())
            return
        if mask.shape != anomaly_map.shape:
            raise ValueError(f"the map is {anomaly_map.shape} but its mask is {mask.shape}")
        self._positives.append(anomaly_map[mask].astype(np.float32))
        self._weights.append(region_weights(mask))
        self._negatives.append(anomaly_map[~mask].astype(np.float32))

    def measure(self) -> PixelMetrics:
        """Measure what was added; the pixels are given up."""
        positives, weights = _joined(self._positives), _joined(self._weights)
        pixels = rank(positives, negatives := _joined(self._negatives))
        regions = rank(positives, negatives, weights)
        if pixels is None or regions is None:
            return PixelMetrics(None, None, None)
        return PixelMetrics(
            pixels.auroc(), pixels.average_precision(), regions.partial_area(PRO_LIMIT)
        )

    def rescaled_pro(self, thresholds: int = 200) -> float | None:
        """Area under region overlap as CDAD's code computes it, only to compare.

        ``thresholds`` equal steps from the smallest to the largest finite pixel; of the false
        positive rates those below `PRO_LIMIT` are divided by the largest of them, whatever it is.
        Infinite pixels, which that code never meets, lie above every threshold. None where a class
        of pixels is missing, or where fewer than two rates are below the limit. The pixels stay.
        """
        edges = [
            (finite.min(), finite.max())
            for part in (*self._positives, *self._negatives)
            if len(finite := part[np.isfinite(part)])
        ]
        if not self._positives or not any(map(len, self._negatives)) or not edges:
            return None
        low, high = min(one[0] for one in edges), max(one[1] for one in edges)
        steps = np.linspace(low, high, thresholds, endpoint=False, dtype=np.float64)
        overlap, false = np.zeros(thresholds), np.zeros(thresholds)
        for part, weights in zip(self._positives, self._weights, strict=True):
            overlap += _above(part, steps, weights)
        for part in self._negatives:
            false += _above(part, steps, None)
        overlap /= sum(float(one.sum(dtype=np.float64)) for one in self._weights)
        false /= sum(len(part) for part in self._negatives)
        return _stretched_area(false[false < PRO_LIMIT], overlap[false < PRO_LIMIT])


def _stretched_area(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float | None:
    """Area under (x, y), x falling, after dividing x by its largest value."""
    if len(x) < 2 or not x.max():
        return None
    return float(np.sum((x[:-1] - x[1:]) * (y[:-1] + y[1:])) / 2 / x.max())


def _above(
    scores: npt.NDArray[np.float32],
    steps: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float64]:
    """Sum of the weights of ``scores`` (n,), 1 without any, above each of ``steps``, ascending."""
    places = np.searchsorted(steps, scores, side="left")
    at = np.bincount(places, weights=weights, minlength=len(steps) + 1)
    above: npt.NDArray[np.float64] = np.cumsum(at[::-1])[::-1][1:].astype(np.float64)
    return above


def _joined(parts: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """One array of all ``parts``, which are given up so that they are not held twice."""
    joined = np.empty(sum(len(part) for part in parts), dtype=np.float32)
    end = len(joined)
    while parts:
        part = parts.pop()
        joined[end - len(part) : end] = part
        end -= len(part)
    return joined


def region_weights(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Weight of each defect pixel, in the order of ``mask[mask]``: 1 / size of its region.

    Parameters
    ----------
    mask : (height, width) bool
        True on the defect; regions are 8-connected.

    Returns
    -------
    (n_defect_pixels,) float32
        Sums to the number of regions.
    """
    labels = components(mask)[0][mask]
    sizes = np.bincount(labels)
    weights: npt.NDArray[np.float32] = (1.0 / sizes[labels]).astype(np.float32)
    return weights
