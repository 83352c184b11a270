"""How to export."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cad_edge.errors import OptionError
from cad_edge.manifest import Precision
from cad_edge_export.fused_task import ModulePrecision

if TYPE_CHECKING:
    from cad_edge_export.quantisation.placement import Style
    from cad_edge_export.selector import Kind


@dataclass(frozen=True)
class Plan:
    """How to export.

    Raises
    ------
    OptionError
        Eight bits without images to measure on, or images without eight bits.
    """

    layout: str = "shared"
    precision: Precision = "fp32"
    selector: "Kind | None" = None
    """None keeps what the bundle has; a new bundle gets the discriminant."""
    backbone: str | None = None
    """Where the weights are, if the artifact's id alone does not find them."""
    calibration: Path | None = None
    """Stream file with the folders of good parts that eight-bit ranges are measured on."""

    words: bool = True
    """Whether tasks of a method that asks a language model can be asked in words, too."""

    def __post_init__(self) -> None:
        if self.style is not None and self.calibration is None:
            raise OptionError(
                f"--precision {self.precision} measures ranges on images of good parts; give the "
                "stream file that the tasks were learned from by --calibration"
            )
        if self.style is None and self.calibration is not None:
            raise OptionError(
                f"--calibration does nothing with --precision {self.precision}; leave it out, or "
                "give --precision int8 or uint8"
            )

    @property
    def style(self) -> "Style | None":
        """Eight-bit style, None in floating point."""
        return self.precision if self.precision in ("int8", "uint8") else None

    @property
    def module_precision(self) -> ModulePrecision:
        """Precision of the modules that torch exports; quantisers are placed afterwards."""
        return "fp16" if self.precision == "fp16" else "fp32"
