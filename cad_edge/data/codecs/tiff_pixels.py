"""What the numbers of a TIFF page mean: photometric interpretation, depth, and further samples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.samples import Samples, Unsupported, strips
from cad_edge.data.codecs.tiff_directory import Page

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
"""Photometric interpretations that have a rule, and their samples without further ones."""

_NAMES = {
    4: "a transparency mask",
    8: "CIE L*a*b* colour",
    9: "ICC L*a*b* colour",
    10: "ITU L*a*b* colour",
    32803: "the raw mosaic of a camera (CFA, Bayer)",
    32844: "LogL brightness",
    32845: "LogLuv colour",
    34892: "the raw pixels of a camera (LinearRaw)",
}
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_FORMATS = {
    _SIGNED: "signed integers",
    _FLOAT: "floats",
    _UNDEFINED: "undefined",
    5: "complex",
    6: "complex",
}
_IGNORED, _PREMULTIPLIED = 0, 1
_PHOTOMETRIC = 262
_YCBCR_COEFFICIENTS, _REFERENCE = 529, 532
_BT601, _FULL_SWING = (0.299, 0.587, 0.114), (0, 255, 128, 255, 128, 255)
_JPEG = (6, 7)


def require_known(page: Page) -> None:
    """Raise Unsupported where a page holds what has no rule."""
    photometric = int(page.photometric)
    if _PHOTOMETRIC not in page.tags:  # tifffile and Pillow take 0 for white, libtiff for black
        raise Unsupported("no word on whether 0 is black or white (TIFF tag 262 is missing)")
    if photometric not in _COLOURS:
        what = _NAMES.get(photometric, f"the photometric interpretation {photometric}")
        raise Unsupported(what)
    bits, form = page.bitspersample, page.sampleformat
    if isinstance(bits, tuple) or isinstance(form, tuple):
        raise Unsupported("samples of different sizes or formats")
    # What is undefined is unsigned to all readers, as where nothing is said.
    integer = 1 <= bits <= 16 and (
        form == _UNSIGNED or (form == _UNDEFINED and page.dtype is not None)
    )
    if not integer and not (form == _FLOAT and bits in (16, 24, 32, 64)):
        name = _FORMATS.get(int(form), "unsigned integers")
        raise Unsupported(f"the sample format {name} of {bits} bits")
    if page.imagedepth != 1:
        raise Unsupported("a volume of several slices")
    _require_channels(page, photometric)
    if photometric in (CMYK, YCBCR) and not (integer and bits in (8, 16)):
        raise Unsupported(f"CMYK or YCbCr of {bits} bits")
    if photometric == YCBCR and page.compression not in _JPEG:
        _require_usual_ycbcr(page, bits)


def _require_channels(page: Page, photometric: int) -> None:
    colours, samples = _COLOURS[photometric], page.samplesperpixel
    alpha_allowed = photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE)
    if samples == colours or (
        samples == colours + 1
        and alpha_allowed
        # Without a word, a fourth sample beside RGB is alpha to most programs; beside grey to none.
        and (len(page.extrasamples) == 1 or (photometric == RGB and not page.extrasamples))
    ):
        return
    raise Unsupported(f"{samples} samples a pixel, where its kind of picture has {colours}")


def _require_usual_ycbcr(page: Page, bits: int) -> None:
    def numbers(tag: int) -> tuple[float, ...] | None:
        value = page.tags.valueof(tag)
        if value is None:
            return None
        return tuple(above / below for above, below in zip(value[::2], value[1::2], strict=True))

    weights, swing = numbers(_YCBCR_COEFFICIENTS), numbers(_REFERENCE)
    usual = weights is None or np.allclose(weights, _BT601, atol=0.001)
    full = swing is None or np.allclose(swing, _FULL_SWING, atol=0.5)
    if bits != 8 or not usual or not full:
        raise Unsupported("YCbCr colour of other coefficients or ranges than JPEG has")


def meaning(page: Page, numbers: NDArray[Any]) -> Samples:
    """Turn a page's numbers into samples; black is 0.

    Parameters
    ----------
    page
        One that `require_known` lets pass.
    numbers
        (h, w) or (h, w, channels), as stored.
    """
    photometric, white = int(page.photometric), 255
    if numbers.dtype.kind != "f":
        white = (1 << page.bitspersample) - 1
        if numbers.dtype.kind == "b":  # one bit
            numbers = numbers.astype(np.uint8)
    values = numbers[..., 0] if numbers.ndim == 3 and numbers.shape[2] == 1 else numbers
    if photometric == PALETTE:
        return _palette(page, values)
    if photometric == CMYK:
        return Samples(_by_pillow("CMYK", values))
    if photometric == YCBCR and page.compression not in _JPEG:
        return Samples(_by_pillow("YCbCr", values))
    further = values.ndim == 3 and values.shape[2] == _COLOURS[photometric] + 1
    if photometric == WHITE_IS_ZERO:
        values = values if values.flags.writeable else values.copy()
        colours = values[..., :-1] if further else values
        np.subtract(
            values.dtype.type(1 if values.dtype.kind == "f" else white), colours, out=colours
        )
    if not further:
        return Samples(values, white)
    return _with_alpha(page, values, white)


def _with_alpha(page: Page, values: NDArray[Any], white: int) -> Samples:
    """Treat the sample beside grey or RGB as the page says: alpha, or nothing.

    Premultiplied colours are those over black already.
    """
    kind = int(page.extrasamples[0]) if page.extrasamples else None
    colours, alpha = values[..., :-1], values[..., -1:]
    if kind == _IGNORED:
        return Samples(np.ascontiguousarray(colours), white)
    if kind == _PREMULTIPLIED:
        alpha = np.where(
            alpha.any(), alpha.dtype.type(1 if alpha.dtype.kind == "f" else white), alpha
        )
    if colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    return Samples(
        np.concatenate([colours, np.broadcast_to(alpha, values[..., -1:].shape)], 2), white
    )


def _palette(page: Page, values: NDArray[Any]) -> Samples:
    """Look colours up: the map holds 16 bits of red, then of green, then of blue."""
    colours, white = page.colormap, (1 << page.bitspersample) - 1
    if values.dtype.kind != "u" or colours is None or colours.shape != (3, white + 1):
        raise Unsupported("a palette without a colour map that fits")
    if 0 < int(colours.max()) < 256:
        raise Unsupported("a colour map of 8 bits where TIFF has 16")
    # Programs write 8-bit colours times 257 or times 256: the upper byte is right of both.
    table = (colours.T >> 8).astype(np.uint8)
    if values.ndim == 2:
        return Samples(table[values])
    if page.extrasamples[0] == _IGNORED:
        return Samples(table[values[..., 0]])
    if white != 255 or page.extrasamples[0] == _PREMULTIPLIED:
        raise Unsupported("a palette with alpha that is premultiplied or not of 8 bits")
    return Samples(np.concatenate([table[values[..., 0]], values[..., 1:]], axis=2))


def _by_pillow(mode: str, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert (h, w, 3 or 4) of 8 or 16 bits to RGB, some rows at a time."""
    from PIL import Image

    result = np.empty((*values.shape[:2], 3), np.uint8)
    for rows in strips(*values.shape[:2]):
        part = values[rows]
        if part.dtype != np.uint8:
            part = ((part.astype(np.uint32) + 128) // 257).astype(np.uint8)
        size = part.shape[1], part.shape[0]
        result[rows] = Image.frombytes(mode, size, part.tobytes()).convert("RGB")
    return result
