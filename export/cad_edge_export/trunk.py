"""Parts of a backbone as graphs: the entry that every frame passes, and folding for speed."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cad_edge_export.activations import has_written_out, write_out
from cad_edge_export.fused_task import GraphInput, ModulePrecision, StageModule
from cad_edge_export.resizing import Taps, joined
from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.mobile_trunk import MobileBlock, MobileTrunk
from cad_edge_training.routing_statistics import describe


def folds_prompt(backbone: Backbone, index: int) -> bool:
    """Whether the prompt of block ``index`` disappears into weights.

    That of a convolutional block 0 does not: its first convolution has borders, where a constant
    is not the same as everywhere. A transformer's rows stay where they are.
    """
    if not isinstance(backbone, MobileTrunk):
        return False
    block = backbone._blocks[index]
    return isinstance(block, MobileBlock) and block.expands


def folded(backbone: Backbone, prompts: Mapping[int, Tensor] | None = None) -> Backbone:
    """Copy with every batch norm folded into its convolution, and prompts where `folds_prompt`.

    Activations are those of `activations`.

    A network that has an EfficientNet within it, as tower of a larger model, is treated like
    one; what is not folded shares its weights with the original.

    A prompt p added to the input of a block (CMPMB Eq. 10 on a convolutional trunk) reaches the
    expanding 1x1 convolution, W (x + p) = W x + W p, and the residual: two biases of that block.
    The bias before the block would do for the block, but would also move the features that leave
    there, which the prompt does not touch. Transformers have nothing to fold.
    """
    convolutional = any(isinstance(part, MobileTrunk) for part in backbone.modules())
    if not convolutional and not has_written_out(backbone):
        return backbone
    copied = _twin(backbone)
    write_out(copied)
    trunks = [part for part in copied.modules() if isinstance(part, MobileTrunk)]
    for trunk in trunks:
        _fold_trunk(trunk)
    for index, prompt in (prompts or {}).items():
        if folds_prompt(backbone, index):
            _absorb(_mobile_blocks(trunks[0])[index], prompt.reshape(-1))
    return copied


def _twin(backbone: Backbone) -> Backbone:
    """Copy modules and share weights, which may be gigabytes: folding puts new ones in place."""
    weights = (*backbone.parameters(), *backbone.buffers())
    return copy.deepcopy(backbone, {id(weight): weight for weight in weights})


def _mobile_blocks(trunk: MobileTrunk) -> list[MobileBlock]:
    return [block for block in trunk._blocks if isinstance(block, MobileBlock)]


def _fold_trunk(trunk: MobileTrunk) -> None:
    _fold(trunk, "_conv_stem", "_bn0")
    for block in _mobile_blocks(trunk):
        if block.expands:
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")


def _absorb(block: MobileBlock, prompt: Tensor) -> None:
    """Add what ``prompt`` (channels,) does to the biases of a folded block."""
    weight, bias = block._expand_conv.weight, block._expand_conv.bias
    if bias is None or block._project_conv.bias is None:
        raise ValueError("fold the norms of a block before its prompt")
    bias.data += weight.data[:, :, 0, 0] @ prompt
    if block.residual:
        block._project_conv.bias.data += prompt


def _fold(owner: nn.Module, convolution: str, norm: str) -> None:
    fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
    setattr(owner, convolution, fused)
    setattr(owner, norm, nn.Identity())


class Entry(nn.Module):
    """image -> descriptor (batch, d) and the hidden state after block ``last`` (-1: the stem).

    Where there are ``taps``, also the features of those blocks on one grid.
    """

    def __init__(
        self,
        backbone: Backbone,
        last: int,
        precision: ModulePrecision,
        taps: Taps | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.last, self.precision = backbone, last, precision
        self.taps = taps

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run the un-prompted blocks up to the deeper of ``last`` and the routing blocks."""
        backbone = self.backbone
        hidden = enter(backbone, image, self.precision)
        states = {-1: hidden}
        for index in range(max(self.last, *backbone.routing_blocks) + 1):
            hidden = states[index] = backbone.block(index, hidden)
        early = {block: states[block].float() for block in backbone.routing_blocks}
        found = describe(backbone, early), states[self.last].float()
        if self.taps is None:
            return found
        tapped = [states[block].float() for block in self.taps.blocks]
        return *found, joined(tapped, self.taps.cells, self.taps.resize)


def enter(backbone: Backbone, image: Tensor, precision: ModulePrecision) -> Tensor:
    """Normalise image (batch, height, width, 3) uint8 and run the stem."""
    pixels = backbone.normalise(image)
    return backbone.stem(pixels.half() if precision == "fp16" else pixels)


def entry_stage(
    backbone: Backbone, last: int, precision: ModulePrecision, taps: Taps | None = None
) -> StageModule:
    """Return stage 0 of every shared engine and of the selector; ``taps`` as those of `Entry`."""
    network = in_precision(folded(backbone), precision)
    tapped = f" {taps}" if taps else ""
    return StageModule(
        Entry(network, last, precision, taps),
        (image_input(backbone),),
        ("descriptor", "hidden", "early") if taps else ("descriptor", "hidden"),
        shared_key=f"entry {backbone.identity.sha256} {backbone.recipe} {last} {precision}{tapped}",
    )


def image_input(backbone: Backbone, views: int = 1) -> GraphInput:
    """Return the input ``image``, uint8 (batch, height, width, 3) at the recipe's size.

    A graph that sees all views of a frame together gets ``views`` rows of each.
    """
    shape = (2 * views, backbone.recipe.height, backbone.recipe.width, 3)
    example = torch.zeros(shape, dtype=torch.uint8)
    return GraphInput("image", "frame/image", example, (0,), views=views)


def views_key(views: int) -> str:
    """Return what tells the key of a graph for several views from that for one."""
    return "" if views == 1 else f" {views} views"


def in_precision(backbone: Backbone, precision: ModulePrecision) -> Backbone:
    """Copy in half precision for fp16, the same network otherwise."""
    if precision != "fp16":
        return backbone
    # Halved one by one on the way, so that there is never a copy in full.
    halves: dict[int, object] = {
        id(weight): nn.Parameter(_halved(weight), requires_grad=False)
        for weight in backbone.parameters()
    }
    halves |= {id(buffer): _halved(buffer) for buffer in backbone.buffers()}
    return copy.deepcopy(backbone, halves)


def _halved(value: Tensor) -> Tensor:
    return value.detach().half() if value.is_floating_point() else value.detach()
