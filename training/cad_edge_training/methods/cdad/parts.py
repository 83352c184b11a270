"""Good or inspected parts as the network is given them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors


@dataclass(frozen=True)
class Parts:
    """Latents of parts, and what the condition is told of them; any axes before c are theirs."""

    latents: Tensor
    """(..., c, h, w) float32."""
    pictures: Tensor | None = None
    """(..., height, width, 3) uint8 where the condition sees pictures; else it sees latents."""

    @property
    def told(self) -> Tensor:
        """What the condition is told."""
        return self.latents if self.pictures is None else self.pictures

    def __len__(self) -> int:
        return len(self.latents)

    def at(self, index: Tensor | tuple[Tensor, ...] | tuple[int, ...] | slice) -> "Parts":
        """Return some of them, by an index of their axes."""
        pictures = None if self.pictures is None else self.pictures[index]
        return Parts(self.latents[index], pictures)

    def where(self, chosen: Tensor, others: "Parts") -> "Parts":
        """Return these (n, ...) where ``chosen`` (n,) is true, and others elsewhere."""
        mask = chosen[:, None, None, None]
        latents = torch.where(mask, self.latents, others.latents)
        if self.pictures is None or others.pictures is None:
            return Parts(latents)
        return Parts(latents, torch.where(mask, self.pictures, others.pictures))

    def grouped(self, count: int) -> "Parts":
        """Bring (n * count, ...) to (n, count, ...)."""
        pictures = None if self.pictures is None else _grouped(self.pictures, count)
        return Parts(_grouped(self.latents, count), pictures)

    def split(self, size: int) -> "list[Parts]":
        """Return batches of at most ``size``."""
        return [self.at(slice(start, start + size)) for start in range(0, len(self), size)]


def _grouped(value: Tensor, count: int) -> Tensor:
    return value.reshape(-1, count, *value.shape[1:])


def joined(several: Sequence[Parts]) -> Parts:
    """Put parts one after another; all of them have pictures, or none has."""
    pictures = [one.pictures for one in several if one.pictures is not None]
    return Parts(
        torch.cat([one.latents for one in several]), torch.cat(pictures) if pictures else None
    )


class Space(Protocol):
    """From what frozen networks see to latents."""

    def parts(self, looked: Parts) -> Parts:
        """Latents of parts whose ``latents`` are features yet."""
        ...

    def tensors(self) -> Tensors:
        """Lay out for shared weights."""
        ...
