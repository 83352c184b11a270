"""Which form a backbone has."""

from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.stable_diffusion.base import StableDiffusion
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.feature_form import FeatureForm
from cad_edge_training.methods.cdad.form import Form
from cad_edge_training.methods.cdad.stable_diffusion.form import StableDiffusionForm


def form_of(backbone: Backbone, config: Config) -> Form:
    """Return the form that a backbone has.

    Raises
    ------
    OptionError
        Options are those of another form.
    """
    if isinstance(backbone, StableDiffusion):
        return StableDiffusionForm.checked(backbone, config)
    return FeatureForm(backbone, config)
