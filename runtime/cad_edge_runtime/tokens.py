"""Tokens: text to numbers and back, and the rows of a language model's embedding.

The only place that knows the package `tokenizers`, which a device installs for words alone.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from cad_edge.errors import BundleError, DeviceError, IntegrityError, OptionError

TOKENIZER = "tokenizer.json"
_EMBEDDING = "embedding"
_DTYPES = ("F32", "F16")
_HALF = "�"  # what stands for bytes that are no character, or not all of one yet


def load_tokenizers() -> ModuleType:
    """Import the package `tokenizers`, or raise DeviceError with what to install."""
    try:
        import tokenizers
    except ImportError:
        raise DeviceError(
            'tokenizers is not installed, and words need it; run `pip install "cad-edge[explain]"`'
        ) from None
    return tokenizers


class Vocabulary:
    """A tokenizer; safe from several threads.

    Parameters
    ----------
    data
        Bytes of tokenizer.json.
    source
        Where they are from, for messages.

    Raises
    ------
    DeviceError
        The package `tokenizers` is not installed.
    IntegrityError
        The package does not understand the bytes.
    """

    def __init__(self, data: bytes, source: str) -> None:
        tokenizers = load_tokenizers()
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(data.decode())
        except Exception as problem:  # the package raises Exception itself
            raise IntegrityError(
                f"{TOKENIZER} of {source} is broken ({problem}); export the bundle again"
            ) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._encoding = threading.Lock()

    def encode(self, text: str, special: bool) -> list[int]:
        """Return the tokens of ``text``, nothing added.

        Parameters
        ----------
        special
            Whether special tokens are recognised in it. They are not in what a user writes, who
            could close the question and answer it as well.

        Raises
        ------
        OptionError
            The text holds what is no character.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise OptionError(
                f"the text {text!r} holds what is no Unicode character; write it otherwise"
            ) from None
        with self._encoding:
            self._tokenizer.encode_special_tokens = not special
            tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens`` without special ones.

        A character at the end whose bytes are not all there is left out, so the text of more tokens
        begins with the text of fewer.
        """
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text.rstrip(_HALF)


class Embedding:
    """A table with a row for each token; rows are read from the file when they are needed.

    Parameters
    ----------
    path
        Verified safetensors file with ``embedding`` (vocabulary, width) float32 or float16.

    Raises
    ------
    BundleError
        The file holds no such table.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Kept open: a table of a gigabyte is not read for the hundred rows of an answer.
            file = safe_open(path, framework="numpy")
            self._rows: Any = file.get_slice(_EMBEDDING)  # type: ignore[no-untyped-call]
        except (OSError, SafetensorError) as problem:
            raise BundleError(
                f"{path} gives no tensor {_EMBEDDING!r} ({problem}); export the bundle again"
            ) from None
        shape, dtype = self._rows.get_shape(), self._rows.get_dtype()
        if len(shape) != 2 or dtype not in _DTYPES:
            raise BundleError(
                f"{_EMBEDDING!r} of {path} is {dtype} of shape {shape}, not a (vocabulary, width) "
                "table of F32 or F16; export the bundle again"
            )
        self.vocabulary, self.width = shape

    def rows(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """(t, width) float32; BundleError for a token that the table does not have."""
        found = np.empty((len(tokens), self.width), np.float32)
        for place, token in enumerate(tokens):
            if not 0 <= token < self.vocabulary:
                raise BundleError(
                    f"{_EMBEDDING!r} of {self._path} has {self.vocabulary} rows and none for token "
                    f"{token}; export the bundle again"
                )
            found[place] = self._rows[token : token + 1][0]
        return found
