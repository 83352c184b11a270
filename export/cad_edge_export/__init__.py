"""Fuses what was learned into runtime graphs, certifies them and adds them to a bundle.

`export` does what `cad-edge export` does. It is imported when it is first asked for, so that the
package alone stays light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cad_edge_export.bundle_export import ExportResult, export

__all__ = ["ExportResult", "export"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the imports above
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cad_edge_export import bundle_export

    return getattr(bundle_export, name)
