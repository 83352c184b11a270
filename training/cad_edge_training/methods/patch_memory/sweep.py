"""What of the patch memory is worth trying on a line: resolution, layers, size of the banks.

Time goes into the trunk, which the resolution and the deepest block decide, and into distances to
the banks, which their size and the finest grid decide.
"""

from collections.abc import Mapping

from cad_edge_training.method import Axis, Settings

_LITE0 = "efficientnet-lite0"
_OWN_SIZE = "own-size"
_BANK = {"bank": 1.0, "bank/4": 0.25, "bank/2": 0.5, "bank*2": 2.0, "bank*4": 4.0}

_LITE0_LAYERS = {
    "blocks-4+7+10": ("7+10x256", "4x256"),
    "blocks-7+10": ("7+10x256",),
    "blocks-4+7": ("7x256", "4x256"),
}
_OTHER_LAYERS = {"block-5": ("5x256",), "block-3": ("3x256",), "block-8": ("8x256",)}

_LITE0_SIZES = ("224px", "128px", "160px", "192px", "256px", "288px", "320px")
# Multiples of 14 and of 16, the usual patches of transformers.
_OTHER_SIZES = (_OWN_SIZE, "112px", "224px", "336px")


def axes_for(backbone: str) -> tuple[Axis, ...]:
    """Axes with their values for a backbone, the default first."""
    sizes = _LITE0_SIZES if backbone == _LITE0 else _OTHER_SIZES
    return (
        Axis("resolution", sizes),
        Axis("layers", tuple(_layers(backbone))),
        Axis("bank", tuple(_BANK)),
    )


def settings_for(backbone: str, values: Mapping[str, str]) -> Settings:
    """Give the settings for one value of each axis; an axis left out has its default."""
    chosen = {axis.name: values.get(axis.name, axis.default) for axis in axes_for(backbone)}
    default = {axis.name: axis.default for axis in axes_for(backbone)}
    options = {}
    if any(chosen[name] != default[name] for name in ("layers", "bank")):
        memories = _layers(backbone)[chosen["layers"]]
        options["memories"] = ",".join(_scaled(one, _BANK[chosen["bank"]]) for one in memories)
    own = chosen["resolution"] == default["resolution"]
    return Settings(None if own else int(chosen["resolution"].removesuffix("px")), options)


def _layers(backbone: str) -> Mapping[str, tuple[str, ...]]:
    return _LITE0_LAYERS if backbone == _LITE0 else _OTHER_LAYERS


def _scaled(memory: str, factor: float) -> str:
    """Multiply the size of a memory bank, the number after its x."""
    blocks, _, size = memory.rpartition("x")
    return f"{blocks}x{max(1, round(int(size) * factor))}"
