"""Which runs there are: who learns what, in which steps, by what it looks at, from which seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cad_edge.data.stream import Stream, read_stream
from cad_edge_studies.procedural_rgbd_line.parts import PARTS
from cad_edge_studies.procedural_rgbd_line.writing import write_line

PRODUCTS = 10
"""The first ones of the line; the rest is for whoever wants more."""
SETTINGS: Mapping[str, tuple[int, ...]] = {
    "10-0": (10,),
    "9-1": (9, 1),
    "6-4": (6, 4),
    "6-1x4": (6, 1, 1, 1, 1),
}
"""Products of every step."""
JOINT, LONGEST = "10-0", "6-1x4"
MODALITIES = ("rgbd", "rgb", "depth")
SEEDS = (0, 1, 2)

TRAIN, GOOD, EACH = 24, 20, 3
"""Images of every product: good parts to learn from, to test with, and with each defect."""
LINE = 1
"""Seed of the line's images. Defaults were chosen on those of seed 0, so none of these had a part
in it."""
RATE = 0.1
"""Stated false-reject rate; nine held-out parts of a product support it."""


@dataclass(frozen=True)
class Learner:
    """One way to learn: options of the method."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


OURS = Learner("IB-IUMAD")
NAIVE = Learner("sequential", {"regulariser": "false"})
IUF_LIKE = Learner(
    "IUF-like", {"regulariser": "false", "fusion": "addition", "bottleneck": "false"}
)
LEARNERS = (OURS, IUF_LIKE, NAIVE)
"""The method; the same network without fusion module and regulariser; the method without the
latter, which is plain sequential learning. Joint learning is setting 10-0."""
ABLATIONS = (
    Learner("without-mamba", {"mamba": "false"}),
    Learner("without-bottleneck", {"bottleneck": "false"}),
    Learner("without-both", {"mamba": "false", "bottleneck": "false"}),
    Learner("addition", {"fusion": "addition"}),
    Learner("concatenation", {"fusion": "concatenation"}),
    Learner("gated", {"fusion": "gated"}),
)
"""The paper's Tables 5 and 6; what all of these leave out or exchange, the method has."""


@dataclass(frozen=True)
class Run:
    """One training from the first step to the last."""

    learner: Learner
    setting: str
    modality: str
    seed: int

    @property
    def name(self) -> str:
        """Folder of the run."""
        learner = self.learner.name.lower()
        return f"{learner}_{self.setting}_{self.modality}_{self.seed}"

    @property
    def options(self) -> dict[str, str]:
        """Options of the method."""
        return {"modality": self.modality, **self.learner.options}

    def steps(self) -> list[tuple[str, ...]]:
        """Products of every step."""
        names, found, start = list(PARTS), [], 0
        for count in SETTINGS[self.setting]:
            found.append(tuple(names[start : start + count]))
            start += count
        return found


def all_runs() -> Iterator[Run]:
    """Every run, those that targets need first."""
    for seed in SEEDS:
        for learner in (OURS, IUF_LIKE):
            yield Run(learner, LONGEST, "rgbd", seed)
        for modality in MODALITIES:
            yield Run(OURS, JOINT, modality, seed)
    for seed in SEEDS:
        yield Run(NAIVE, LONGEST, "rgbd", seed)
    for learner in ABLATIONS:
        yield Run(learner, JOINT, "rgbd", SEEDS[0])
    for setting in ("6-4", "9-1"):
        for seed in SEEDS:
            yield from (Run(learner, setting, "rgbd", seed) for learner in LEARNERS)
    for setting in (LONGEST, "6-4", "9-1"):
        for modality in ("rgb", "depth"):
            yield from (Run(OURS, setting, modality, seed) for seed in SEEDS)


def stream_of(data: Path, steps: Sequence[Sequence[str]]) -> Stream:
    """Write what of the line is missing in ``data``, and read the stream of these steps."""
    data.mkdir(parents=True, exist_ok=True)
    return read_stream(write_line(data, steps, TRAIN, GOOD, EACH, LINE, RATE))
