"""An option of the command line whose help lists the names that the code knows.

They are fetched when the help is shown, and not before, so that no command imports torch for its
options.
"""

import importlib

import click

from cad_edge.errors import CadEdgeError

_LISTS = {
    "{methods}": ("cad_edge_training.methods", "method_names"),
    "{backbones}": ("cad_edge_training.backbones", "backbone_names"),
    "{devices}": ("cad_edge_runtime.device", "device_names"),
}
"""Where the names are found that take these places in a help text: module and function."""


class Option(click.Option):
    """An option whose help lists the names that the code knows, and says whether it repeats."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Fill in the names."""
        record = super().get_help_record(ctx)
        if record is None:
            return None
        option, text = record
        if self.multiple and self.help is not None:
            text = text.replace(self.help, f"{self.help} May be repeated.", 1)
        for place, (module, function) in _LISTS.items():
            if place in text:
                text = text.replace(place, _names(module, function))
        return option, text


def _names(module: str, function: str) -> str:
    """Join names; a file among them that cannot be read does not hide the rest of a help text."""
    try:
        names: list[str] = getattr(importlib.import_module(module), function)()
    except CadEdgeError as problem:
        return f"(not listed: {problem})"
    return ", ".join(names)
