"""The base model of CL-Anomaly: a vision tower whose tokens a language model reads."""

from cad_edge_training.backbones.llava.base import LlavaBase
from cad_edge_training.backbones.llava.chat import ChatTexts, DecisionTokens, Prompt
from cad_edge_training.backbones.llava.loading import load_llava

__all__ = ["ChatTexts", "DecisionTokens", "LlavaBase", "Prompt", "load_llava"]
