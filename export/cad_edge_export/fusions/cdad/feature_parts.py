"""Parts of graphs of the embedded form."""

import torch
from torch import Tensor, nn

from cad_edge_export.fused_task import ModulePrecision
from cad_edge_export.fusions.cdad.fast_network import FastAMN, FastUNet, halved, step_biases
from cad_edge_export.fusions.cdad.graph_parts import GraphParts
from cad_edge_export.trunk import folded, in_precision
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.methods.cdad.latents import LatentSpace
from cad_edge_training.methods.cdad.model import CDAD
from cad_edge_training.methods.cdad.unet import UNet
from cad_edge_training.patch_features import highest, patch_features


class LatentTrunk(nn.Module):
    """Rest of the backbone: hidden state after block ``first`` -> latents, float32."""

    matrix: Tensor
    bias: Tensor

    def __init__(self, model: CDAD, first: int, precision: ModulePrecision) -> None:
        super().__init__()
        assert isinstance(model.space, LatentSpace)
        self.backbone = in_precision(folded(model.backbone), precision)
        self.blocks, self.first, self.precision = model.config.blocks, first, precision
        self.register_buffer("matrix", model.space.matrix.T[:, :, None, None].contiguous())
        self.register_buffer("bias", model.space.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map a hidden state, float32 whatever the backbone's precision, to (n, c, h, w)."""
        states = {self.first: hidden}
        inner = hidden.half() if self.precision == "fp16" else hidden
        for index in range(self.first + 1, self.blocks[-1] + 1):
            inner = self.backbone.block(index, inner)
            states[index] = inner.float()
        features = patch_features(self.backbone, states, self.blocks)
        return nn.functional.conv2d(features, self.matrix, self.bias)


class ReconstructionScore(nn.Module):
    """latents, restored -> score, anomaly_map."""

    rows: Tensor
    columns: Tensor

    def __init__(self, model: CDAD) -> None:
        super().__init__()
        recipe, config, grid = model.backbone.recipe, model.config, model.noise.shape[2:]
        self.share = config.share
        rows = map_matrix(recipe.height, grid[0], config.smoothing)
        columns = map_matrix(recipe.width, grid[1], config.smoothing).T.copy()
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("columns", torch.from_numpy(columns))

    def forward(self, latents: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Compare (n, c, h, w) with the part as it would be if it were good."""
        gap = latents - restored
        cells = torch.sqrt((gap * gap).sum(dim=1))
        return highest(cells.flatten(1), self.share), self.rows @ cells @ self.columns


def feature_parts(model: CDAD, first: int, precision: ModulePrecision) -> GraphParts:
    """Rewrite a model; hidden states are those after block ``first``."""
    unet, grid = model.network.unet, (model.noise.shape[2], model.noise.shape[3])
    assert isinstance(unet, UNet)
    amn, fast = FastAMN(model.network.amn), FastUNet(unet, grid)
    half = precision == "fp16"
    return GraphParts(
        trunk=LatentTrunk(model, first, precision),
        amn=halved(amn) if half else amn,
        unet=halved(fast) if half else fast,
        judge=ReconstructionScore(model),
        tables=step_biases(unet, model.sampling),
        sees_pictures=False,
        plan=model.sampling,
        precision=precision,
    )
