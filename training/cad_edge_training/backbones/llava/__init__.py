"""The base model of CL-Anomaly: a vision tower whose tokens a language model reads."""

from cad_edge_training.backbones.llava.base import LlavaBase
from cad_edge_training.backbones.llava.chat import Answers, ChatTexts, Prompt
from cad_edge_training.backbones.llava.loading import load_llava

__all__ = ["Answers", "ChatTexts", "LlavaBase", "Prompt", "load_llava"]
