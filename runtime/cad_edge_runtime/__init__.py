"""The runtime: opens a bundle, recognises the product in a frame and finds its defects.

Needs numpy and ONNX Runtime; never imports torch or onnx.
"""

from cad_edge_runtime.conversation import Conversation
from cad_edge_runtime.defects import Defect
from cad_edge_runtime.detection import Detection
from cad_edge_runtime.detector import Detector
from cad_edge_runtime.explanation import Explanation

__all__ = ["Conversation", "Defect", "Detection", "Detector", "Explanation"]
