"""What of CMPMB is worth trying on a line: resolution, the block, size of the bank, prompts.

Time goes into the trunk, which the resolution and the block decide, and into distances to the bank,
which its size decides. Prompts cost time of learning alone.
"""

from collections.abc import Mapping

from cad_edge_training.method import Axis, Settings

_OWN_SIZE = "own-size"
_BLOCKS = {"block-5": "5", "block-3": "3", "block-8": "8"}
_BANK = {"bank": 196, "bank/4": 49, "bank/2": 98, "bank*2": 392, "bank*4": 784}
_PROMPTS = {"prompts": "true", "no-prompts": "false"}
# Multiples of 14, 16 and 32, the usual steps of grids.
_SIZES = (_OWN_SIZE, "112px", "224px", "336px")


def axes_for(backbone: str) -> tuple[Axis, ...]:
    """Axes with their values, the default first."""
    return (
        Axis("resolution", _SIZES),
        Axis("block", tuple(_BLOCKS)),
        Axis("bank", tuple(_BANK)),
        Axis("prompts", tuple(_PROMPTS)),
    )


def settings_for(backbone: str, values: Mapping[str, str]) -> Settings:
    """Give the settings for one value of each axis; an axis left out has its default."""
    axes = axes_for(backbone)
    chosen = {axis.name: values.get(axis.name, axis.default) for axis in axes}
    changed = {axis.name for axis in axes if chosen[axis.name] != axis.default}
    options = {}
    if "block" in changed:
        options["blocks"] = _BLOCKS[chosen["block"]]
    if "bank" in changed:
        options["bank_size"] = str(_BANK[chosen["bank"]])
    if "prompts" in changed:
        options["prompts"] = _PROMPTS[chosen["prompts"]]
    own = "resolution" not in changed
    return Settings(None if own else int(chosen["resolution"].removesuffix("px")), options)
