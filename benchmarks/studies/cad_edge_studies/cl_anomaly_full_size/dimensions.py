"""How large the base model is, and how many tasks it has learned."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dimensions:
    """The published LLaVA-OneVision-0.5B, as transformers reads it.

    Its tower is SigLIP so400m/14 without the last of its 27 blocks: neither side computes that.
    """

    side: int = 384
    patch: int = 14
    vision_width: int = 1152
    vision_layers: int = 26
    vision_heads: int = 16
    vision_inner: int = 4304
    width: int = 896
    layers: int = 24
    heads: int = 14
    kv_heads: int = 2
    inner: int = 4864
    vocabulary: int = 152_064
    tasks: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order in which they are learned."""
        return tuple(f"product-{number:02d}" for number in range(self.tasks))

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def read_dimensions(path: Path) -> Dimensions:
    """Read what `Dimensions.write` wrote."""
    return Dimensions(**json.loads(path.read_text(encoding="utf-8")))
