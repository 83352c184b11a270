"""What is swept: settings, each one value of every axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cad_edge.errors import OptionError
from cad_edge.store.manifest import Precision

if TYPE_CHECKING:
    from cad_edge_training.method import Axis

PRECISION = "precision"
DEFAULT = "default"

_PRECISIONS: Mapping[str, tuple[Precision, ...]] = {
    "cpu": ("fp32", "uint8"),
    "openvino": ("fp32", "uint8"),
    "cuda": ("fp32", "fp16", "int8"),
    "tensorrt": ("fp32", "fp16", "int8"),
}


@dataclass(frozen=True)
class Setting:
    """One way to learn and export."""

    name: str
    """Its values that are not default, or ``default``."""
    changes: tuple[tuple[str, str], ...]
    """(axis, value) of every value that is not default."""
    size: int | None
    options: tuple[str, ...]
    """Options of the method as NAME=VALUE."""
    precision: Precision


class Space:
    """Axes of a method on a backbone, and the precisions of a device.

    Parameters
    ----------
    method, backbone
        As `cad-edge train` takes them.
    device
        ``cpu``, ``openvino``, ``cuda`` or ``tensorrt``.
    fixed
        Options that every setting has, NAME: VALUE; axes that would change them are left out.
    asked
        Axes to sweep as NAME or NAME=VALUE,VALUE; all of them without any.

    Raises
    ------
    OptionError
        The method, an axis or a value is unknown, or an axis is left out by ``fixed``.
    """

    def __init__(
        self,
        method: str,
        backbone: str,
        device: str,
        fixed: Mapping[str, str],
        asked: Sequence[str] = (),
    ) -> None:
        from cad_edge_training.method import Axis
        from cad_edge_training.sweep import axes_of

        self._method, self._backbone, self._fixed = method, backbone, dict(fixed)
        known = {axis.name: axis for axis in axes_of(method, backbone) if not self._is_fixed(axis)}
        known[PRECISION] = Axis(PRECISION, _PRECISIONS[device])
        self.axes: tuple[Axis, ...] = _narrowed(known, asked) if asked else tuple(known.values())

    def _is_fixed(self, axis: "Axis") -> bool:
        from cad_edge_training.sweep import settings_of

        return any(
            name in self._fixed
            for value in axis.values
            for name in settings_of(self._method, self._backbone, {axis.name: value}).options
        )

    def setting(self, changes: Mapping[str, str]) -> Setting:
        """Return the setting that differs from the default by ``changes``, value by axis."""
        from cad_edge_training.sweep import settings_of

        found = settings_of(
            self._method, self._backbone, {k: v for k, v in changes.items() if k != PRECISION}
        )
        options = self._fixed | dict(found.options)
        default = next((axis.default for axis in self.axes if axis.name == PRECISION), "fp32")
        precision: Precision = changes.get(PRECISION, default)  # type: ignore[assignment]
        return Setting(
            name=", ".join(changes.values()) or DEFAULT,
            changes=tuple(changes.items()),
            size=found.size,
            options=tuple(f"{name}={value}" for name, value in options.items()),
            precision=precision,
        )

    def first_round(self) -> list[Setting]:
        """Return the default, then one changed value at a time."""
        changed = [{axis.name: value} for axis in self.axes for value in axis.values[1:]]
        return [self.setting({}), *(self.setting(change) for change in changed)]


def _narrowed(known: Mapping[str, "Axis"], asked: Sequence[str]) -> "tuple[Axis, ...]":
    """Keep the axes and values that were asked for; the default value stays in any case."""
    from cad_edge_training.method import Axis

    found: dict[str, Axis] = {}
    for word in asked:
        name, equals, listed = word.partition("=")
        if name not in known:
            raise OptionError(f"--axis {name}: there is no such axis; take one of {_listed(known)}")
        if name in found:
            raise OptionError(f"--axis {name} is given twice; list its values with commas")
        axis = known[name]
        wanted = listed.split(",") if equals else list(axis.values)
        for value in wanted:
            if value not in axis.values:
                raise OptionError(
                    f"--axis {word}: {name} has no value {value!r}; it has {_listed(axis.values)}"
                )
        kept = (value for value in axis.values[1:] if value in wanted)
        found[name] = Axis(name, (axis.default, *kept))
    return tuple(found[name] for name in known if name in found)


def _listed(words: "Sequence[str] | Mapping[str, Axis]") -> str:
    return ", ".join(words)
