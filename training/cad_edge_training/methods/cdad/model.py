"""CDAD: the reference model, as training leaves it (METHODS 4).

    z = latents of the frame      ẑ = the network's, restored from z with noise on it
    map = smoothed distance of z and ẑ (Eq. 1)      score = its highest

One network serves all products; of a product it takes nothing.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.cdad.form import Form, Reconstructor
from cad_edge_training.methods.cdad.network import NETWORK, sampling_of
from cad_edge_training.methods.cdad.parts import Parts

SIZE = "size"
"""Name in shared weights: height and width of the images that were learned from, (2,) int64."""


class CDAD(nn.Module):
    """image -> score, anomaly_map."""

    def __init__(self, form: Form, restorer: Reconstructor) -> None:
        super().__init__()
        self.form, self.backbone, self.config = form, form.backbone, form.config
        self.space, self.network, self.noise = restorer.space, restorer.network, restorer.noise
        self.sampling = sampling_of(form.config)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score (batch,) and map (batch, h, w) of image (batch, h, w, 3) uint8."""
        return self.judge(self.parts(image))

    def parts(self, image: Tensor) -> Parts:
        """See image (batch, h, w, 3) uint8 as the network is shown it."""
        return self.space.parts(self.form.look(image))

    def reconstructed(self, parts: Parts) -> Tensor:
        """Latents (batch, c, h, w) of the parts as they would be if they were good."""
        restored: Tensor = self.network(parts, self.noise, self.sampling)
        return restored

    def judge(self, parts: Parts) -> tuple[Tensor, Tensor]:
        """Score (batch,) and map (batch, h, w) of parts."""
        return self.form.verdict(parts.latents, self.reconstructed(parts))


def model_of(form: Form, shared_weights: Tensors) -> CDAD:
    """Build from what all products share; errors are those of `require_size`."""
    require_size(form.backbone, shared_weights)
    return CDAD(form, form.restorer(shared_weights)).eval()


def require_size(backbone: Backbone, shared_weights: Tensors) -> None:
    """Raise ArtifactError where a backbone takes images of another size than those learned from."""
    recipe, learned = backbone.recipe, [int(one) for one in shared_weights[SIZE]]
    if learned != [recipe.height, recipe.width]:
        raise ArtifactError(
            f"the network of cdad was learned at {learned[1]} x {learned[0]} pixels and cannot "
            f"look at {recipe.width} x {recipe.height}; load the backbone for {learned[1]}"
        )


def is_whole(shared_weights: Mapping[str, object]) -> bool:
    """Whether shared weights hold a network, and not only the step that a task belongs to."""
    return any(name.startswith(NETWORK) for name in shared_weights)
