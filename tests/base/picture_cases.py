"""What each kind of array and picture file must give: the rows of docs/data.md, TIFF apart.

Of each case the file or array, and the frame that it becomes (grey for all three channels) or words
of the sentence that refuses it. Lossy files become what Pillow makes of them.
"""

import imagecodecs
import numpy as np
from PIL import Image

from tests.base.picture_files import (
    HEIGHT,
    WIDTH,
    bmp,
    chunk,
    encoded,
    interlaced,
    levels,
    png,
    ramp,
    run_lengths,
    tiff,
)

AS_PILLOW = "as Pillow"
R8, R12, R16 = ramp(8), ramp(12), ramp(16)
FLOATS = R16 / 65535
ALPHA = np.tile(np.linspace(0, 255, HEIGHT).astype(np.uint8)[:, None], (1, WIDTH))
DRAWN = np.dstack([R8, R8[:, ::-1], R8 // 2])
DRAWN16 = np.dstack([R16, R16[:, ::-1], R16 // 2])
OVER_BLACK = np.rint(DRAWN * (ALPHA[..., None] / 255)).astype(np.uint8)
RGBA = np.dstack([DRAWN, ALPHA])
HIDDEN = np.dstack([DRAWN, 0 * ALPHA])
INK = np.dstack([DRAWN, ALPHA // 3])
BITS = R8 > 127
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
REFUSED = "has an unsupported pixel type"
UNSEEN = "alpha 0 everywhere"
LOST = "cannot be read"


def cut(content: bytes) -> bytes:
    """Three quarters of a file."""
    return content[: len(content) * 3 // 4]


def half_jpeg(**options: object) -> bytes:
    """A JPEG that ends as it should, without a quarter of its data."""
    return cut(encoded(DRAWN, "JPEG", quality=95, **options)) + b"\xff\xd9"


def oriented(form: str, number: int) -> bytes:
    """A file with an orientation in its EXIF."""
    exif = Image.Exif()
    exif[274] = number
    return encoded(DRAWN, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))


JPEG12 = imagecodecs.jpeg8_encode(R12, level=98, bitspersample=12)

ARRAYS = {
    "uint8 RGB": [(DRAWN, DRAWN)],
    "grey, (h, w) or (h, w, 1)": [
        (R8, R8),
        (R8[..., None], R8),
        (R16[..., None], levels(R16, 65535)),
    ],
    "uint16, grey or RGB": [
        (R16, levels(R16, 65535)),
        (DRAWN16, levels(DRAWN16, 65535)),
        (R12, levels(R12, 65535)),
        (R12 << 4, levels(R12, 4096)),
    ],
    "float16, float32, float64": [
        *[(FLOATS.astype(kind), levels(FLOATS.astype(kind), 1)) for kind in "efd"],
        (FLOATS * 2, "scale it to"),
        (FLOATS - 0.5, "scale it to"),
        (np.where(FLOATS > 0.5, np.nan, FLOATS), "NaN or infinite"),
        (np.where(FLOATS > 0.5, np.inf, FLOATS), "NaN or infinite"),
    ],
    "RGBA": [(RGBA, OVER_BLACK)],
    "RGBA with alpha 0 everywhere": [
        (HIDDEN, UNSEEN),
        (HIDDEN.astype(np.uint16) * 257, UNSEEN),
        (HIDDEN / 255, UNSEEN),
    ],
    "other types (int32, uint32, bool, complex, object), 2 or 5 channels, channels first, "
    "masked arrays, lists": [
        *[
            (R8.astype(kind), "give uint8, uint16, or float")
            for kind in (np.int32, np.uint32, np.bool_, np.complex64, object, np.int8, np.uint64)
        ],
        (RGBA[..., :2], "has shape"),
        (np.dstack([RGBA, R8]), "has shape"),
        (DRAWN.transpose(2, 0, 1), "has shape"),
        (np.ma.masked_equal(R8, 7), "is a masked array"),
        (R8.tolist(), "is a list"),
    ],
}

PICTURES = {
    "PNG, grey of 1, 2, 4 or 8 bits": [
        (png(ramp(bits), bits, 0), levels(ramp(bits), 2**bits - 1)) for bits in (1, 2, 4, 8)
    ],
    "PNG, grey or RGB of 16 bits": [
        (png(R16, 16, 0), levels(R16, 65535)),
        (png(DRAWN16, 16, 2), levels(DRAWN16, 65535)),
    ],
    "PNG, RGB of 8 bits, and interlaced": [
        (encoded(DRAWN, "PNG"), DRAWN),
        *[
            (interlaced(NOISE[:high, :wide]), NOISE[:high, :wide])
            for high, wide in ((48, 64), (9, 8), (8, 9), (13, 21))
        ],
        (interlaced(NOISE >> 6, 2), levels(NOISE >> 6, 3)),
        (interlaced(DRAWN16, 16, 2), levels(DRAWN16, 65535)),
    ],
    "PNG, palette": [
        (encoded(Image.fromarray(DRAWN).quantize(count), "PNG"), AS_PILLOW)
        for count in (2, 4, 16, 200)
    ],
    "PNG with alpha, or with a transparent colour": [
        (encoded(RGBA, "PNG"), OVER_BLACK),
        (png(np.dstack([R8, ALPHA]), 8, 4), np.rint(R8 * (ALPHA / 255)).astype(np.uint8)),
        (png(RGBA.astype(np.uint16) * 257, 16, 6), OVER_BLACK),
        (encoded(R8, "PNG", transparency=255), np.where(R8 == 255, 0, R8)),
    ],
    "PNG with gamma, sBIT or a colour profile": [
        (png(R8, 8, 0, chunk(b"gAMA", (100000).to_bytes(4, "big")), chunk(b"sBIT", b"\4")), R8),
        (png(R16, 16, 0, chunk(b"sBIT", b"\x0c")), levels(R16, 65535)),
        (encoded(DRAWN, "PNG", icc_profile=b"no profile at all"), DRAWN),
    ],
    "PNG, animated": [
        (
            encoded(DRAWN, "PNG", save_all=True, append_images=[Image.fromarray(255 - DRAWN)]),
            DRAWN,
        )
    ],
    "JPEG, grey or colour, sequential or progressive": [
        *[
            (encoded(DRAWN, "JPEG", quality=95, progressive=late, subsampling=fine), AS_PILLOW)
            for late in (False, True)
            for fine in (0, 1, 2)
        ],
        (encoded(DRAWN, "JPEG", restart_marker_rows=1), AS_PILLOW),
        (encoded(R8, "JPEG", quality=95), AS_PILLOW),
        (encoded(R8, "JPEG") + b"what comes after the end", AS_PILLOW),
    ],
    "JPEG of 12 bits": [(JPEG12, levels(imagecodecs.jpeg8_decode(JPEG12), 4095))],
    "JPEG, CMYK or YCCK": [
        (encoded(Image.fromarray(INK, "CMYK"), "JPEG", quality=95), AS_PILLOW),
        (encoded(Image.fromarray(INK, "CMYK"), "JPEG", progressive=True), AS_PILLOW),
    ],
    "JPEG, lossless": [(imagecodecs.ljpeg_encode(R16, bitspersample=16), REFUSED)],
    "BMP of 1, 4 or 8 bits, and run-length encoded": [
        (encoded(BITS, "BMP"), levels(BITS, 1)),
        (encoded(R8, "BMP"), R8),
        (encoded(Image.fromarray(DRAWN).quantize(40), "BMP"), AS_PILLOW),
        (bmp(R8, 4), R8 >> 4 << 4 | R8 >> 4),
        (run_lengths(R8), R8),
    ],
    "BMP of 16 bits (555 or 565) or 24 bits, bottom-up or top-down": [
        (encoded(DRAWN, "BMP"), DRAWN),
        (bmp(DRAWN, 24, top_down=True), DRAWN),
        (bmp(DRAWN, 16), AS_PILLOW),
        (bmp(DRAWN, 16, masks=(0xF800, 0x07E0, 0x001F)), AS_PILLOW),
    ],
    "BMP of 32 bits": [
        (bmp(HIDDEN, 32), DRAWN),
        (bmp(RGBA, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)), OVER_BLACK),
        (bmp(HIDDEN, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0)), DRAWN),
    ],
    "WebP, lossy or lossless, with or without alpha": [
        (encoded(DRAWN, "WEBP", lossless=True), DRAWN),
        (encoded(DRAWN, "WEBP", quality=95), AS_PILLOW),
        (encoded(RGBA, "WEBP", lossless=True, exact=True), OVER_BLACK),
    ],
    "WebP, animated": [
        (
            encoded(
                DRAWN,
                "WEBP",
                lossless=True,
                save_all=True,
                append_images=[Image.fromarray(255 - DRAWN)],
            ),
            DRAWN,
        )
    ],
    "PBM, PGM or PPM, plain or binary": [
        (b"P5 64 48 4095\n" + R12.astype(">u2").tobytes(), levels(R12, 4095)),
        (b"P5\n# a grabber\n64 48\n255\n" + R8.tobytes(), R8),
        (b"P5 64 48 100 " + (R8 // 3).tobytes(), levels(R8 // 3, 100)),
        (b"P6 64 48 65535 " + DRAWN16.astype(">u2").tobytes(), levels(DRAWN16, 65535)),
        (b"P6 64 48 255\n" + DRAWN.tobytes(), DRAWN),
        (b"P4 64 48\n" + np.packbits(~BITS, axis=1).tobytes(), levels(BITS, 1)),
        (b"P2 64 48 4095\n" + " ".join(map(str, R12.ravel())).encode(), levels(R12, 4095)),
        (b"P3 64 48 255\n" + "\n".join(map(str, DRAWN.ravel())).encode(), DRAWN),
        (b"P1 64 48\n" + "".join(map(str, 1 - BITS.ravel())).encode(), levels(BITS, 1)),
        (b"P5 64 48 100 " + R8.tobytes(), LOST),
        (b"P2 64 48 100 " + b"101 " * 64 * 48, LOST),
    ],
    "alpha 0 everywhere, in any format": [
        (encoded(HIDDEN, "PNG"), UNSEEN),
        (encoded(HIDDEN, "WEBP", lossless=True), UNSEEN),
        (bmp(HIDDEN, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)), UNSEEN),
        (tiff(HIDDEN, 8, 2, tags=[(338, "H", [2])]), UNSEEN),
        (tiff(HIDDEN, 8, 2, tags=[(338, "H", [1])]), UNSEEN),
        (png(np.dstack([R8, 0 * R8]), 8, 4), UNSEEN),
        (encoded(Image.new("P", (9, 9), 0), "PNG", transparency=0), UNSEEN),
    ],
    "a file that lacks data, in any format": [
        *[
            (cut(encoded(DRAWN, form)), LOST)
            for form in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
        ],
        (half_jpeg(), LOST),
        (half_jpeg(progressive=True), LOST),
    ],
    "orientation of EXIF, of XMP where EXIF has none, or of TIFF": [
        *[(oriented(form, 6), DRAWN.swapaxes(0, 1)[:, ::-1]) for form in ("PNG", "TIFF", "WEBP")],
        *[(oriented(form, number), DRAWN) for form in ("PNG", "WEBP") for number in (0, 1, 9)],
        (png(DRAWN, 8, 2, chunk(b"eXIf", b"no EXIF at all")), DRAWN),
        (png(DRAWN, 8, 2, chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")), DRAWN),
        (encoded(DRAWN, "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"), DRAWN),
        (
            encoded(DRAWN, "WEBP", lossless=True, xmp=b'<x tiff:Orientation="3"/>'),
            DRAWN[::-1, ::-1],
        ),
        (tiff(DRAWN, 8, 2, tags=[(274, "H", [3])]), DRAWN[::-1, ::-1]),
        (tiff(DRAWN, 8, 2, tags=[(274, "H", [77])]), DRAWN),
    ],
}
