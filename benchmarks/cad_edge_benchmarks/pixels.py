"""Localisation metrics over all pixels of a task's test set.

Pixels are gathered image by image as float32 and normal pixels are sorted in place, so that 150
maps of 512 x 512 take about 0.4 GB. AUPRO is the mean overlap of 8-connected defect regions
against the false positive rate over normal pixels (those of good and of defective images outside
the mask), integrated up to a rate of 0.3 and divided by 0.3.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cad_edge_benchmarks.metrics import rank
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
