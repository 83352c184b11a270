"""CMPMB's modules, alpha and layer on a CLIP: README.md."""
