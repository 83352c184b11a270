"""Stable Diffusion 1.5 of diffusers."""

from typing import TYPE_CHECKING

from cad_edge_training.backbones.loader import BackboneLoader

if TYPE_CHECKING:
    from cad_edge_training.backbones.backbone import Backbone


def _load(source: str, size: int | None) -> "Backbone":
    from cad_edge_training.backbones.stable_diffusion.loading import load_stable_diffusion

    return load_stable_diffusion(source, size)


LOADER = BackboneLoader(_load, takes_id=True)
