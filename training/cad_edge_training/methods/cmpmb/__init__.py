"""CMPMB: continual multimodal prompts and memory banks (arXiv 2603.21562); see README.md."""
