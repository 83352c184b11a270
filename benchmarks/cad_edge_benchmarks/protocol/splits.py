"""The published continual protocols: which classes each step adds.

Class lists are those of MVTec AD (Bergmann et al., CVPR 2019), VisA (Zou et al., ECCV 2022),
MVTec 3D-AD (Bergmann et al., VISAPP 2022) and Eyecandies (Bonfiglioli et al., ACCV 2022), in
alphabetical order, which all protocols but one use.
The splits are those of UCAD (AAAI 2024), IUF (ECCV 2024), CDAD (CVPR 2025), IB-IUMAD and
CL-Anomaly. What IUF calls "3-3 with 4 steps" and CDAD "5 steps" is ``3x5`` here: five steps of
three classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from cad_edge.errors import OptionError

Dataset = Literal["mvtec", "visa", "mvtec3d", "eyecandies"]
Part = TypeVar("Part")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CLASSES: dict[Dataset, tuple[str, ...]] = {
    "mvtec": _words(
        "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile "
        "toothbrush transistor wood zipper"
    ),
    "visa": _words(
        "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"
    ),
    "mvtec3d": _words("bagel cable_gland carrot cookie dowel foam peach potato rope tire"),
    "eyecandies": _words(
        "CandyCane ChocolateCookie ChocolatePraline Confetto GummyBear HazelnutTruffle "
        "LicoriceSandwich Lollipop Marshmallow PeppermintCandy"
    ),
}

TITLES: dict[Dataset, str] = {
    "mvtec": "MVTec AD",
    "visa": "VisA",
    "mvtec3d": "MVTec 3D-AD",
    "eyecandies": "Eyecandies",
}

SINGLE_CLASS = _words(
    "zipper hazelnut leather cable metal_nut wood transistor tile screw carpet bottle "
    "capsule toothbrush pill grid"
)
"""Order of the single-class stream on MVTec AD (CL-Anomaly)."""


@dataclass(frozen=True)
class Split:
    """One published protocol."""

    name: str
    datasets: tuple[Dataset, ...]
    """One dataset folder is needed for each."""
    steps: tuple[tuple[str, ...], ...]
    """Names of the classes that each step adds."""

    @property
    def whole_steps_move(self) -> bool:
        """Whether another order moves steps; otherwise classes move and step sizes stay."""
        return len(self.datasets) > 1


def cut(parts: tuple[Part, ...], sizes: Sequence[int]) -> tuple[tuple[Part, ...], ...]:
    """Cut ``parts`` into steps of the given sizes, which add up to their number."""
    if sum(sizes) != len(parts):
        raise ValueError(f"steps of {sizes} do not add up to {len(parts)}")
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return tuple(parts[end - size : end] for end, size in zip(ends, sizes, strict=True))


_OF_TEN = {"10-0": (10,), "9-1": (9, 1), "6-4": (6, 4), "6-1x4": (6, 1, 1, 1, 1)}
_SIZES: Mapping[Dataset, Mapping[str, tuple[int, ...]]] = {
    "mvtec": {
        "14-1": (14, 1),
        "10-5": (10, 5),
        "3x5": (3,) * 5,
        "10-1x5": (10, 1, 1, 1, 1, 1),
        "1x15": (1,) * 15,
    },
    "visa": {"11-1": (11, 1), "8-4": (8, 4), "8-1x4": (8, 1, 1, 1, 1), "1x12": (1,) * 12},
    "mvtec3d": _OF_TEN,
    "eyecandies": _OF_TEN,
}
_ALL = (
    *(
        Split(f"{dataset}/{name}", (dataset,), cut(CLASSES[dataset], sizes))
        for dataset, named in _SIZES.items()
        for name, sizes in named.items()
    ),
    Split("mvtec/single-class", ("mvtec",), cut(SINGLE_CLASS, (1,) * 15)),
    Split("cross-dataset", ("mvtec", "visa"), (CLASSES["mvtec"], CLASSES["visa"])),
)

SPLITS = {split.name: split for split in _ALL}
"""All published protocols by name."""


def named_split(name: str) -> Split:
    """Return a published protocol; raise OptionError with all names if there is no such one."""
    if name not in SPLITS:
        raise OptionError(
            f"{name} is neither a stream file nor a protocol; take a YAML or JSON file, or one of "
            f"{', '.join(SPLITS)}"
        )
    return SPLITS[name]
