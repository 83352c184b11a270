"""A small tokenizer that is made from a few texts, and still encodes any text byte by byte."""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from cad_edge_training.backbones.llava.chat import END, IMAGE, TEXT_END, TURN

SPECIAL = (TEXT_END, TURN, END, IMAGE)


def build_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Byte-level byte pair encoding, as Qwen2's, over the words of ``texts``.

    Parameters
    ----------
    texts
        The corpus; equal texts in equal order give an equal tokenizer.
    size
        Number of tokens at most: the special ones, 256 bytes, and merges.

    Returns
    -------
    Tokenizer
        "Yes" and "No" are single tokens whatever the texts are.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    corpus = list(texts)
    # As often as there are texts, so that no limit on the size can leave them out.
    corpus += ["Yes", "No"] * max(2, len(corpus))
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer
