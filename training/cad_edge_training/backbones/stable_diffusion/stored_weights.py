"""Weights of a folder one by one, so that gigabytes are named without being held."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from cad_edge.errors import OptionError


class StoredWeights(Mapping[str, Tensor]):
    """Tensors of all safetensors files of a folder by name; each is read when it is asked for.

    Raises
    ------
    OptionError
        A file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as file:
                    self._files |= dict.fromkeys(file.keys(), path)
            except Exception as problem:  # safetensors has an exception of its own
                raise OptionError(f"{path} cannot be read ({problem}); get it again") from None

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self._files[name], framework="pt") as file:
            found: Tensor = file.get_tensor(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @staticmethod
    def joined(parts: Mapping[str, Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """Name the weights of all parts ``part.name``, without reading them."""
        return _Joined(parts)


class _Joined(Mapping[str, Tensor]):
    def __init__(self, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Tensor:
        part, _, rest = name.partition(".")
        return self._parts[part][rest]

    def __iter__(self) -> Iterator[str]:
        return (f"{part}.{name}" for part, weights in self._parts.items() for name in weights)

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))
