"""The decision: one pass of the decoder over a fixed prompt around the rows of the image."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cad_edge_export.fused_task import ModulePrecision
from cad_edge_export.language.decoder import Experts, LanguageDecoder
from cad_edge_export.language.decoder_layer import Pair
from cad_edge_export.language.experts import Composition, stacked_experts
from cad_edge_export.language.gate import Routing, of_frame, weights
from cad_edge_training.backbones.llava import LlavaBase

OUTPUTS = ("score", "probability", "logits")
ANCHOR = "anchor"


@dataclass(frozen=True)
class Mix:
    """How tasks with shared weights answer, but for their tensors."""

    composition: Composition
    routing: Routing
    tau: float
    views: int = field(default=1, repr=False)
    """Images of a frame; not said in keys of graphs, which name several views themselves."""


class LanguageDecision(nn.Module):
    """tokens -> score (batch,), probability (batch,) and logits (batch, 2) of Yes and No, float32.

    The prompt is constant, so that no table of embeddings is needed, and the head holds no more
    than the rows of all ways to say Yes and No.
    """

    head: Tensor
    bias: Tensor | None
    before: Tensor
    after: Tensor

    def __init__(
        self,
        base: LlavaBase,
        question: str,
        decoder: LanguageDecoder,
        precision: ModulePrecision,
        views: int = 1,
    ) -> None:
        """Assemble.

        Parameters
        ----------
        base
            In float32; prompt, head and sizes are taken from it.
        question
            What is asked of an image.
        decoder
            In ``precision``.
        views
            Images of a frame.
        """
        super().__init__()
        self.decoder, self.views = decoder, views
        self.dtype = torch.float16 if precision == "fp16" else torch.float32
        prompt = base.prompt(question)
        for name, ids in (("before", prompt.before), ("after", prompt.after)):
            rows = base.embed(torch.tensor(ids)).detach()
            self.register_buffer(name, rows.to(self.dtype)[None])
        self.yes = len(base.answers.yes)
        chosen = torch.tensor((*base.answers.yes, *base.answers.no))
        self.register_buffer("head", base.head.weight.detach()[chosen].T.to(self.dtype))
        bias = base.head.bias
        self.register_buffer("bias", None if bias is None else bias.detach()[chosen])
        self.past: list[Pair] | None = None
        """Keys and values of ``before`` by layer, once `read_ahead` has read it."""
        image_rows = views * (base.n_patches + 1)
        rows_in_all = self.before.shape[1] + image_rows + self.after.shape[1]
        self.positions = decoder.positions(rows_in_all)

    def read_ahead(self, experts: Experts) -> None:
        """Read what stands before the image once and for all.

        Exact only where its experts do not depend on the image.
        """
        rows, count = len(self.positions.cos), self.before.shape[1]
        with torch.inference_mode():
            _, pairs = self.decoder(self.before, experts, None, self.decoder.positions(count), None)
        # A clone is an ordinary tensor, which the exporter can trace.
        self.past = [(keys.clone(), values.clone()) for keys, values in pairs]
        self.positions = self.decoder.positions(rows - count, before=count)

    def forward(
        self, tokens: Tensor, experts: Experts, mu: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Judge images by their rows.

        Parameters
        ----------
        tokens
            (batch * views, n_patches + 1, width) float32; those of a frame follow each other.
        experts
            By layer.
        mu
            Weights (batch, tasks) of the private experts; None where all weigh one.
        """
        if self.views > 1:
            tokens = tokens.reshape(-1, self.views * tokens.shape[1], tokens.shape[2])
        count = tokens.shape[0]
        rows = [tokens.to(self.dtype), self.after.expand(count, -1, -1)]
        if self.past is None:
            rows.insert(0, self.before.expand(count, -1, -1))
        hidden, _ = self.decoder(torch.cat(rows, 1), experts, mu, self.positions, self.past)
        said = (hidden @ self.head).float()
        said = said if self.bias is None else said + self.bias
        sides = [part.logsumexp(1) for part in said.tensor_split((self.yes,), dim=1)]
        logits = torch.stack(sides, 1)
        score = logits[:, 0] - logits[:, 1]
        return score, score.sigmoid(), logits


class BoundDecision(nn.Module):
    """tokens and tensors of the tasks -> what `LanguageDecision` says."""

    def __init__(self, decision: LanguageDecision, mix: Mix, names: tuple[str, ...]) -> None:
        """Assemble; ``names`` are those of the tensors, in the order in which they come."""
        super().__init__()
        self.decision, self.mix, self.names = decision, mix, names

    def forward(self, tokens: Tensor, *values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge images by their rows (batch * views, n_patches + 1, width)."""
        tensors = dict(zip(self.names, values, strict=True))
        experts, mu = stacked_experts(tensors, self.mix.composition), bound_mu(tensors, self.mix)
        score, probability, logits = self.decision(tokens, experts, mu)
        return score, probability, logits


def bound_mu(tensors: Mapping[str, Tensor], mix: Mix) -> Tensor | None:
    """Weights (batch, tasks) by ``anchor`` among the tensors; None where it is not."""
    anchor = tensors.get(ANCHOR)
    chosen = None if anchor is None else of_frame(anchor, mix.views)
    return weights(chosen, tensors, mix.routing, mix.tau)
