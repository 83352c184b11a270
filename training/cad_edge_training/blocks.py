"""Blocks of a backbone as an option of methods."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator


def _in_order(blocks: tuple[int, ...]) -> tuple[int, ...]:
    if list(blocks) != sorted(set(blocks)):
        raise ValueError("blocks must be ascending and without repetition")
    return blocks


Blocks: TypeAlias = Annotated[tuple[int, ...], AfterValidator(_in_order)]
"""Numbers of blocks, ascending and without repetition."""
