"""The runtime: opens a bundle, recognises the product in a frame and finds its defects.

Needs numpy and ONNX Runtime; never imports torch or onnx.
"""

from cad_edge_runtime.defects import Defect
from cad_edge_runtime.detection import Detection
from cad_edge_runtime.detector import Detector

__all__ = ["Defect", "Detection", "Detector"]
