"""How to export."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cad_edge.errors import OptionError
from cad_edge.store.manifest import GraphLayout, Precision, SelectorKind

if TYPE_CHECKING:
    from cad_edge_export.fused_task import ModulePrecision
    from cad_edge_export.quantisation.placement import Style


@dataclass(frozen=True)
class ExportPlan:
    """How to export.

    Raises
    ------
    OptionError
        Eight bits without images to measure on, or images without eight bits; merging of shared
        experts into a graph that is not one task's alone, or is quantised besides.
    """

    layout: GraphLayout = "shared"
    precision: Precision = "fp32"
    selector: SelectorKind | None = None
    """None keeps what the bundle has; a new bundle gets the discriminant."""
    backbone: str | None = None
    """Where the weights are, if the artifact's id alone does not find them."""
    calibration: Path | None = None
    """Stream file with the folders of good parts that eight bits are measured on."""

    explanations: bool = True
    """Whether tasks of a method that asks a language model can be asked in words, too."""
    merge_shared: bool = False
    """Whether shared experts lose their router, so that they merge into the network, too."""

    def __post_init__(self) -> None:
        if self.style is not None and self.calibration is None:
            raise OptionError(
                f"--precision {self.precision} is measured on images of good parts; give the "
                "stream file that the tasks were learned from by --calibration"
            )
        if self.style is None and self.calibration is not None:
            raise OptionError(
                f"--calibration does nothing with --precision {self.precision}; leave it out, or "
                "give --precision int8 or uint8"
            )

        if self.merge_shared and self.layout != "fused":
            raise OptionError(
                "--merge-shared writes the experts into the weights of a task's own file; give "
                "--layout fused, or leave it out"
            )
        if self.merge_shared and self.style is not None:
            raise OptionError(
                "--merge-shared is an approximation that is measured in floating point alone; give "
                "--precision fp32 or fp16, or leave it out"
            )

    def for_all_tasks(self) -> "ExportPlan":
        """Return the plan of graphs that tasks have in common, whatever the layout of their own."""
        return replace(self, layout="shared", merge_shared=False)

    @property
    def style(self) -> "Style | None":
        """Eight-bit style, None in floating point."""
        return self.precision if self.precision in ("int8", "uint8") else None

    @property
    def module_precision(self) -> "ModulePrecision":
        """Precision of the modules that torch exports; quantisers are placed afterwards."""
        return "fp16" if self.precision == "fp16" else "fp32"

    def in_float(self) -> "ExportPlan":
        """Return the plan of what stays in floating point within an eight-bit export."""
        if self.style is None:
            return self
        return replace(self, precision="fp32", calibration=None)
