"""Parts of graphs of the published form."""

import copy

import torch
from torch import Tensor, nn

from cad_edge_export.fused_task import ModulePrecision
from cad_edge_export.fusions.cdad.fast_network import FastAMN
from cad_edge_export.fusions.cdad.graph_parts import GraphParts
from cad_edge_export.fusions.cdad.stable_diffusion.unet import FastTextUNet, text_step_biases
from cad_edge_export.trunk import in_precision
from cad_edge_training.backbones.stable_diffusion.base import StableDiffusion
from cad_edge_training.backbones.stable_diffusion.scorer import STRIDES
from cad_edge_training.gaussian import gaussian_matrix, resize_matrix
from cad_edge_training.group_norm import PortableGroupNorm
from cad_edge_training.methods.cdad.model import CDAD
from cad_edge_training.methods.cdad.stable_diffusion.unet import TextUNet


class EncoderTrunk(nn.Module):
    """Rest of the encoder: hidden state after block ``first`` -> latents, float32."""

    def __init__(self, backbone: StableDiffusion, first: int, precision: ModulePrecision) -> None:
        super().__init__()
        self.backbone, self.first, self.precision = backbone, first, precision

    def forward(self, hidden: Tensor) -> Tensor:
        """Map a hidden state, float32 whatever the encoder's precision, to (n, c, h, w)."""
        inner = hidden.half() if self.precision == "fp16" else hidden
        for index in range(self.first + 1, self.backbone.n_blocks):
            inner = self.backbone.block(index, inner)
        return inner.float()


class PictureScore(nn.Module):
    """latents, restored -> score, anomaly_map; both are decoded in one batch."""

    def __init__(self, model: CDAD, backbone: StableDiffusion, precision: ModulePrecision) -> None:
        super().__init__()
        self.decoder, self.scorer = backbone.decoder, backbone.scorer
        self.precision = precision
        recipe, smoothing = backbone.recipe, model.config.smoothing
        for stride in STRIDES:
            rows = _aligned(recipe.height, recipe.height // stride, smoothing)
            columns = _aligned(recipe.width, recipe.width // stride, smoothing)
            self.register_buffer(f"rows_{stride}", rows)
            self.register_buffer(f"columns_{stride}", columns.T.contiguous())

    def forward(self, latents: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Compare (n, c, h, w) with the part as it would be if it were good."""
        both = torch.cat((latents, restored))
        pictures = self.decoder(both.half() if self.precision == "fp16" else both)
        maps = []
        for stride, features in zip(STRIDES, self.scorer(pictures), strict=True):
            pair = features.float().reshape(2, -1, *features.shape[1:])
            gap = pair[0] - pair[1]
            cells = torch.sqrt((gap * gap).sum(dim=1))
            rows, columns = (self.get_buffer(f"{one}_{stride}") for one in ("rows", "columns"))
            maps.append(rows @ cells @ columns)
        located = torch.stack(maps).sum(dim=0)
        return located.amax(dim=(1, 2)), located


def _aligned(size: int, cells: int, deviation: float) -> Tensor:
    """Resizing whose first and last pixel lie on the first and last cell, then a Gaussian."""
    product = gaussian_matrix(size, deviation) @ resize_matrix(size, cells, aligned=True)
    return torch.from_numpy(product).float()


def stable_diffusion_parts(model: CDAD, first: int, precision: ModulePrecision) -> GraphParts:
    """Rewrite a model; hidden states are those after block ``first``."""
    unet = model.network.unet
    assert isinstance(unet, TextUNet)
    backbone = in_precision(model.backbone, precision)
    assert isinstance(backbone, StableDiffusion)
    half = precision == "fp16"
    amn, fast = FastAMN(model.network.amn), FastTextUNet(unet)
    return GraphParts(
        trunk=EncoderTrunk(backbone, first, precision),
        amn=half_copy(amn) if half else amn,
        unet=half_copy(fast) if half else fast,
        judge=PictureScore(model, backbone, precision),
        tables=text_step_biases(unet, model.sampling),
        sees_pictures=True,
        plan=model.sampling,
        precision=precision,
    )


def half_copy(module: nn.Module) -> nn.Module:
    """Copy a module in half precision, but for the weights of its norms, which are shared."""
    norms = [one for one in module.modules() if isinstance(one, PortableGroupNorm | nn.LayerNorm)]
    memo: dict[int, object] = {
        id(value): value for norm in norms for value in (*norm.parameters(), *norm.buffers())
    }
    for weight in module.parameters():
        memo.setdefault(id(weight), nn.Parameter(weight.detach().half(), requires_grad=False))
    for buffer in module.buffers():
        memo.setdefault(id(buffer), buffer.half())
    return copy.deepcopy(module, memo)
