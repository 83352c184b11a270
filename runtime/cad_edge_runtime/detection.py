"""Detections: what is said about one frame."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cad_edge.errors import OptionError
from cad_edge_runtime.defects import Defect
from cad_edge_runtime.levels import strongest
from cad_edge_runtime.selection import RunnerUp

Verdict = Literal["normal", "anomalous", "unknown_product"]


@dataclass(frozen=True)
class Timings:
    """Seconds that a frame took; in a batch, the batch's divided by its frames."""

    prepare: float
    """Checking, converting and resizing."""

    select: float
    """Selector, with the stages that the engine shares with it."""

    detect: float
    """Engine of the task; 0 where none was run."""

    post: float
    """Thresholds, p-value and defects."""


@dataclass(frozen=True, eq=False)
class Detection:
    """The result for one frame.

    Where the verdict is ``unknown_product``, task, scores, threshold and map are None, and
    ``nearest`` names the product that the frame resembles most. The engine of that product has run
    only where its map had to decide.

    Examples
    --------
    >>> from cad_edge_runtime import Detector
    >>> with Detector.open("bundle") as detector:
    ...     found = detector.detect("photo.png")
    >>> found.verdict, found.task, found.score <= found.threshold, 0 < found.p_value <= 1
    ('normal', 'bracket', True, True)
    """

    task: str | None
    """The product, as recognised or as given."""

    similarity: float | None
    """To the nearest product, see ``selection.py``; from 0.5 on the frame surely shows it, and what
    is unknown has less. None if it was given."""

    nearest: str | None
    """The product most similar to the frame, known or not; None if it was given."""

    runner_up: RunnerUp | None
    verdict: Verdict
    score: float | None
    """Raw, monotone in how anomalous the frame is; comparable within a task only."""

    probability: float | None
    """Of a defect, as a language model gives it for its answer Yes, in [0, 1]; None elsewhere. The
    verdict does not rest on it but on score and threshold."""

    calibrated_score: float | None
    """Score in standard deviations above the task's held-out normals; comparable between tasks."""

    p_value: float | None
    """Share of held-out normals that score as high, in (0, 1]."""

    threshold: float | None
    """A score above it is anomalous."""

    false_reject_supported: bool | None
    """Whether the held-out normals, or groups of them, were enough for the false-reject rate that
    was stated."""

    depth_used: bool | None
    """Whether what answered looks at depth; None for an unknown product."""

    anomaly_map: NDArray[np.float32] | None
    """(h, w) float32 at the graph's resolution; it covers the whole frame."""

    defects: tuple[Defect, ...]
    size: tuple[int, int]
    """(height, width) of the original frame."""

    version: int
    """Version of the bundle that answered."""

    timings: Timings

    levels: Mapping[str, float] | None = None
    """What each level of evidence adds to the score, by name and in units of held-out good parts;
    may be NaN. None where the engine tells no levels apart, and for an unknown product."""

    level_maps: Mapping[str, NDArray[np.float32]] | None = None
    """(h, w) float32 of each level at the graph's resolution, unsmoothed; it covers the whole
    frame. None where the engine gives none."""

    @property
    def level(self) -> str | None:
        """Name of the level that adds most to the score; None where none adds anything."""
        found = strongest(self.levels or {})
        return None if found is None else found[0]

    @property
    def level_share(self) -> float | None:
        """Share of `level` in what all levels add to the score, in (0, 1]; None as `level`."""
        found = strongest(self.levels or {})
        return None if found is None else found[1]

    def full_size_map(self) -> NDArray[np.float32] | None:
        """Return the anomaly map stretched bilinearly over the original frame, (height, width).

        Examples
        --------
        >>> from cad_edge_runtime import Detector
        >>> with Detector.open("bundle") as detector:
        ...     found = detector.detect("photo.png")
        >>> found.full_size_map().shape == found.size
        True
        """
        return None if self.anomaly_map is None else self._stretched(self.anomaly_map)

    def level_map(self, name: str | None = None) -> NDArray[np.float32] | None:
        """Return the map of one level stretched bilinearly over the original frame.

        Parameters
        ----------
        name
            One of the names in `levels`; None for the strongest, `level`.

        Returns
        -------
        (height, width) float32; None where the engine gives no maps of levels, or where none is
        strongest and none is named.

        Raises
        ------
        OptionError
            The engine names no such level.

        Examples
        --------
        >>> from cad_edge_runtime import Detector
        >>> with Detector.open("bundle") as detector:
        ...     found = detector.detect("photo.png")
        >>> found.level, found.level_map() is None
        (None, True)
        """
        if name is not None and name not in (self.levels or {}):
            held = ", ".join(self.levels or {}) or "no level"
            raise OptionError(f"the detection names no level {name[:80]!r}; it has {held}")
        wanted = self.level if name is None else name
        if wanted is None or self.level_maps is None:
            return None
        return self._stretched(self.level_maps[wanted])

    def _stretched(self, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = self.size
        image = Image.fromarray(np.ascontiguousarray(coarse, dtype=np.float32))
        return np.array(image.resize((width, height), resample=Image.Resampling.BILINEAR))

    def to_dict(self, path: Path | None = None) -> dict[str, object]:
        """Return what `cad-edge detect` prints: JSON values without the map, None for NaN.

        Examples
        --------
        >>> from cad_edge_runtime import Detector
        >>> with Detector.open("bundle") as detector:
        ...     row = detector.detect("photo.png").to_dict()
        >>> row["verdict"], row["defects"]
        ('normal', [])
        """
        runner_up = self.runner_up
        return {
            "path": None if path is None else str(path),
            "task": self.task,
            "verdict": self.verdict,
            "similarity": self.similarity,
            "score": _finite(self.score),
            "p_value": self.p_value,
            "threshold": _finite(self.threshold),
            "defects": [defect.to_dict() for defect in self.defects],
            "calibrated_score": _finite(self.calibrated_score),
            "probability": self.probability,
            "level": self.level,
            "level_share": self.level_share,
            "levels": self.levels and {name: _finite(one) for name, one in self.levels.items()},
            "nearest": self.nearest,
            "runner_up": runner_up and {"task": runner_up.task, "similarity": runner_up.similarity},
            "false_reject_supported": self.false_reject_supported,
            "depth_used": self.depth_used,
            "version": self.version,
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
