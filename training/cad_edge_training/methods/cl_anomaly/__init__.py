"""CL-Anomaly: LoRA experts in a language model (arXiv 2607.02930); see README.md."""
