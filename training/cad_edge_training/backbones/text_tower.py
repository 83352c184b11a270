"""CLIP's text tower, fed with embeddings instead of words so that a prompt can be learned."""

from typing import Any

import torch
from torch import Tensor, nn

from cad_edge.errors import OptionError
from cad_edge_training.backbones.vision_transformer import LayerNames, TransformerBlock


class TextTower(nn.Module):
    """Frozen text encoder; a causal transformer whose end token sums up the text."""

    def __init__(
        self, tower: nn.Module, projection: nn.Module, names: LayerNames, heads: int
    ) -> None:
        """Take apart ``tower``; its parameters are shared, not copied."""
        super().__init__()
        self.token = tower.get_submodule("embeddings.token_embedding")
        self.position = tower.get_submodule("embeddings.position_embedding").get_parameter("weight")
        layers = tower.get_submodule("encoder.layers").children()
        self.blocks = nn.ModuleList(
            TransformerBlock(layer, names, heads, causal=True) for layer in layers
        )
        self.norm = tower.get_submodule("final_layer_norm")
        self.projection = projection
        self.width = self.position.shape[1]
        self.tokenizer: Any = None

    def embed(self, text: str) -> Tensor:
        """Embeddings (tokens, width) of start token, words and end token, without positions.

        Raises
        ------
        OptionError
            The backbone came without a tokenizer, or with one that does not know the words.
        """
        ids = [] if self.tokenizer is None else self.tokenizer(text)["input_ids"]
        # The end token also stands for what is unknown, and where the files of a tokenizer are
        # missing transformers makes an empty one that knows nothing.
        if not ids or ids[-1] in ids[:-1]:
            raise OptionError(
                f"the backbone has no tokenizer that can read {text!r}; put tokenizer.json into "
                "its folder, or set text=false"
            )
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.position.device)
        embeddings: Tensor = self.token(tokens)
        return embeddings

    def encode(self, embeddings: Tensor) -> Tensor:
        """Encode texts whose last token is the end token.

        Tokens look back only, so texts need no padding to the length of the tower.

        Parameters
        ----------
        embeddings
            (batch, tokens, width), as `embed` gives them.

        Returns
        -------
        Tensor
            (batch, text_width), not normalised.

        Raises
        ------
        OptionError
            There are more tokens than the tower has positions.
        """
        tokens = embeddings.shape[1]
        if tokens > len(self.position):
            raise OptionError(
                f"the text prompt has {tokens} tokens but the backbone reads {len(self.position)}; "
                "shorten class_name or text_vectors"
            )
        hidden = embeddings + self.position[:tokens]
        for block in self.blocks:
            hidden = block(hidden)
        out: Tensor = self.projection(self.norm(hidden[:, -1]))
        return out
