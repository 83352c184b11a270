"""The published continual protocols: which classes each step adds.

Class lists are those of MVTec AD (Bergmann et al., CVPR 2019), VisA (Zou et al., ECCV 2022),
MVTec 3D-AD (Bergmann et al., VISAPP 2022) and Eyecandies (Bonfiglioli et al., ACCV 2022), in
alphabetical order, which all protocols but one use.
The splits are those of UCAD (AAAI 2024), IUF (ECCV 2024), CDAD (CVPR 2025), IB-IUMAD and
CL-Anomaly. What IUF calls "3-3 with 4 steps" and CDAD "5 steps" is ``3x5`` here: five steps of
three classes.
"""

from collections.abc import Sequence
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
    meaning: str

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


def _split(dataset: Dataset, name: str, *sizes: int) -> Split:
    words = " + ".join(str(size) for size in sizes) if len(set(sizes)) > 1 else _equal(sizes)
    return Split(
        f"{dataset}/{name}",
        (dataset,),
        cut(CLASSES[dataset], sizes),
        f"{TITLES[dataset]}, steps of {words} classes",
    )


def _equal(sizes: tuple[int, ...]) -> str:
    return f"{len(sizes)} x {sizes[0]}"


_ALL = (
    _split("mvtec", "14-1", 14, 1),
    _split("mvtec", "10-5", 10, 5),
    _split("mvtec", "3x5", 3, 3, 3, 3, 3),
    _split("mvtec", "10-1x5", 10, 1, 1, 1, 1, 1),
    _split("mvtec", "1x15", *[1] * 15),
    Split(
        "mvtec/single-class",
        ("mvtec",),
        cut(SINGLE_CLASS, (1,) * 15),
        "MVTec AD, one class after another, from zipper to grid",
    ),
    _split("visa", "11-1", 11, 1),
    _split("visa", "8-4", 8, 4),
    _split("visa", "8-1x4", 8, 1, 1, 1, 1),
    _split("visa", "1x12", *[1] * 12),
    _split("mvtec3d", "10-0", 10),
    _split("mvtec3d", "9-1", 9, 1),
    _split("mvtec3d", "6-4", 6, 4),
    _split("mvtec3d", "6-1x4", 6, 1, 1, 1, 1),
    _split("eyecandies", "10-0", 10),
    _split("eyecandies", "9-1", 9, 1),
    _split("eyecandies", "6-4", 6, 4),
    _split("eyecandies", "6-1x4", 6, 1, 1, 1, 1),
    Split(
        "cross-dataset",
        ("mvtec", "visa"),
        (CLASSES["mvtec"], CLASSES["visa"]),
        "all of MVTec AD, then all of VisA; --order reversed for the way back",
    ),
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
