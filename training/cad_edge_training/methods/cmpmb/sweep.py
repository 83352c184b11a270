"""What of CMPMB is worth trying on a line: resolution, layers, size of the bank, prompts.

Time goes into the trunk, which the resolution and the deepest block decide, and into distances to
the bank, which its size and the finest grid decide. Prompts cost time of learning alone.
"""

from collections.abc import Mapping

from cad_edge_training.methods.cmpmb.config import defaults_for
from cad_edge_training.sweep import Axis, Settings

_LITE0 = "efficientnet-lite0"
_OWN_SIZE = "own-size"
_BANK = {"bank": 1.0, "bank/4": 0.25, "bank/2": 0.5, "bank*2": 2.0, "bank*4": 4.0}
_PROMPTS = {"prompts": "true", "no-prompts": "false"}

_LITE0_LAYERS = {
    "blocks-4+7+10": ("7+10x256", "7+10@3x128", "4x256"),
    "blocks-7+10": ("7+10x256", "7+10@3x128"),
    "blocks-4+7": ("7x256", "7@3x128", "4x256"),
    "one-memory": ("7+10x256",),
}
_TRANSFORMER_LAYERS = {"block-5": ("5x196",), "block-3": ("3x196",), "block-8": ("8x196",)}

_LITE0_SIZES = ("224px", "128px", "160px", "192px", "256px", "320px")
# Multiples of 14 and of 16, the usual patches of transformers.
_TRANSFORMER_SIZES = (_OWN_SIZE, "112px", "224px", "336px")


def axes_for(backbone: str) -> tuple[Axis, ...]:
    """Axes with their values for a backbone, the default first."""
    sizes = _LITE0_SIZES if backbone == _LITE0 else _TRANSFORMER_SIZES
    return (
        Axis("resolution", sizes),
        Axis("layers", tuple(_layers(backbone))),
        Axis("bank", tuple(_BANK)),
        Axis("prompts", _prompts(backbone)),
    )


def settings_for(backbone: str, values: Mapping[str, str]) -> Settings:
    """Give the settings for one value of each axis; an axis left out has its default."""
    chosen = {axis.name: values.get(axis.name, axis.default) for axis in axes_for(backbone)}
    default = {axis.name: axis.default for axis in axes_for(backbone)}
    options = {}
    if any(chosen[name] != default[name] for name in ("layers", "bank")):
        memories = _layers(backbone)[chosen["layers"]]
        options["memories"] = ",".join(_scaled(one, _BANK[chosen["bank"]]) for one in memories)
    if chosen["prompts"] != default["prompts"]:
        options["prompts"] = _PROMPTS[chosen["prompts"]]
    own = chosen["resolution"] == default["resolution"]
    return Settings(None if own else int(chosen["resolution"].removesuffix("px")), options)


def _layers(backbone: str) -> Mapping[str, tuple[str, ...]]:
    return _LITE0_LAYERS if backbone == _LITE0 else _TRANSFORMER_LAYERS


def _prompts(backbone: str) -> tuple[str, ...]:
    with_prompts = defaults_for(backbone).get("prompts", True)
    return ("prompts", "no-prompts") if with_prompts else ("no-prompts", "prompts")


def _scaled(memory: str, factor: float) -> str:
    """Multiply the size of a memory, the number after its last x."""
    blocks, _, size = memory.rpartition("x")
    return f"{blocks}x{max(1, round(int(size) * factor))}"
