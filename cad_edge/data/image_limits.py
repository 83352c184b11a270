"""Limits of an image's size, said before anything is decoded."""

import operator

from cad_edge.errors import ImageError, OptionError

MINIMUM_SIDE = 8  # pixels; below this no backbone has a single patch
MAXIMUM_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb


def check_size(width: int, height: int, source: str, max_pixels: int = MAXIMUM_PIXELS) -> None:
    """Refuse what is too small or too large.

    Parameters
    ----------
    width, height
        In pixels.
    source
        What the image is, for the message.
    max_pixels
        How many pixels it may have.

    Raises
    ------
    ImageError
        A side is under 8 px, or there are more pixels than ``max_pixels``.
    OptionError
        ``max_pixels`` is no limit.
    """
    if min(width, height) < MINIMUM_SIDE:
        raise ImageError(
            f"{source} is {width}x{height} px; give an image of at least {MINIMUM_SIDE} px a side"
        )
    if width * height > require_max_pixels(max_pixels):
        limit = (
            f"{max_pixels // 1_000_000} megapixels"
            if max_pixels >= 1_000_000
            else f"{max_pixels} pixels"
        )
        raise ImageError(
            f"{source} has more than {limit}; crop it or make it smaller first, or allow more by "
            "max_pixels"
        )


def require_max_pixels(max_pixels: int) -> int:
    """Return a limit that a caller set, as an int.

    Raises
    ------
    OptionError
        It is no whole number, or so small that no image passes.
    """
    try:
        if isinstance(max_pixels, bool):
            raise TypeError
        number = operator.index(max_pixels)
    except TypeError:
        raise OptionError(
            f"max_pixels is a {type(max_pixels).__name__}; give a whole number of pixels"
        ) from None
    if number < MINIMUM_SIDE**2:
        raise OptionError(
            f"max_pixels is {number}, and no image has fewer than {MINIMUM_SIDE**2}; give more"
        )
    return number
