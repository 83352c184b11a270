"""Ground floor of cad-edge: image recipe, data readers, formats and the bundle store.

Imports only the standard library, numpy, pydantic, click, Pillow, safetensors and PyYAML, and
tifffile, imagecodecs and simplejpeg where a file needs them, so that it is the same code on the
workstation that learns and on the device that inspects.
"""

from cad_edge.errors import CadEdgeError

__version__ = "0.1.0"
__all__ = ["CadEdgeError", "__version__"]
