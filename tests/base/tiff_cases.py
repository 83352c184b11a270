"""What each kind of TIFF must give: the rows of docs/data.md, as in `picture_cases`."""

import io

import numpy as np
import tifffile
from PIL import Image

from tests.base.picture_cases import (
    ALPHA,
    AS_PILLOW,
    BITS,
    DRAWN,
    DRAWN16,
    FLOATS,
    INK,
    OVER_BLACK,
    R8,
    R12,
    R16,
    REFUSED,
    RGBA,
)
from tests.base.picture_files import encoded, levels, ramp, tiff, tiff_of
from tests.base.tiff_directories import without


def converted(mode: str, values: np.ndarray) -> np.ndarray:
    """Pillow's RGB of CMYK or YCbCr."""
    return np.asarray(Image.frombytes(mode, values.shape[1::-1], values.tobytes()).convert("RGB"))


def preview_first() -> bytes:
    """A small copy before the picture itself."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as written:
        written.write(255 - DRAWN[::3, ::3], photometric="rgb", subfiletype=1)
        written.write(DRAWN, photometric="rgb")
    return file.getvalue()


_YCBCR = converted("YCbCr", DRAWN)
_CMYK = converted("CMYK", INK)
_MAP16 = np.arange(768, dtype=np.uint16).reshape(3, 256) * 85

TIFFS = {
    "TIFF, grey or RGB of 1 to 16 bits, packed": [
        *[(tiff(ramp(n), n, 1), levels(ramp(n), 2**n - 1)) for n in range(1, 17)],
        *[
            (tiff(np.dstack([ramp(n)] * 3), n, 2), levels(ramp(n), 2**n - 1))
            for n in (4, 8, 10, 12, 14, 16)
        ],
    ],
    "TIFF, grey of 12 bits in 16, BitsPerSample 16": [(tiff(R12, 16, 1), levels(R12, 65535))],
    "TIFF with MinSampleValue or MaxSampleValue": [
        (tiff(R12, 16, 1, tags=[(280, "H", [9]), (281, "H", [4095])]), levels(R12, 65535)),
        (tiff(R12, 16, 1, tags=[(340, "H", [0]), (341, "H", [4095])]), levels(R12, 65535)),
    ],
    "TIFF, WhiteIsZero (photometric interpretation 0)": [
        *[
            (tiff(ramp(n)[:, ::-1], n, 0), levels(ramp(n), 2**n - 1))
            for n in (1, 2, 4, 8, 10, 12, 14, 16)
        ],
        *[
            (tiff_of(1 - FLOATS.astype(kind), "miniswhite"), levels(FLOATS.astype(kind), 1))
            for kind in "fd"
        ],
        (encoded(BITS, "TIFF", compression="group4"), levels(BITS, 1)),
    ],
    "TIFF that does not say whether 0 is black or white (no PhotometricInterpretation, tag 262)": [
        (without(tiff(values, 8, 1 if values.ndim == 2 else 2), 262), REFUSED)
        for values in (R8, DRAWN)
    ],
    "TIFF of undefined samples (SampleFormat 4) of 8 or 16 bits": [
        (tiff(ramp(n), n, 1, tags=[(339, "H", [4])]), levels(ramp(n), 2**n - 1)) for n in (8, 16)
    ],
    "TIFF, float of 16, 32 or 64 bits": [
        *[(tiff_of(FLOATS.astype(kind)), levels(FLOATS.astype(kind), 1)) for kind in "efd"],
        (tiff_of((DRAWN / 255).astype(np.float32), "rgb"), DRAWN),
        (tiff_of(FLOATS * 100), "scale it to"),
    ],
    "TIFF, palette": [
        (tiff_of(R8, "palette", colormap=_MAP16), (_MAP16.T[R8] >> 8).astype(np.uint8)),
        (
            tiff(ramp(4), 4, 3, tags=[(320, "H", list(range(0, 65536, 1366))[:48])]),
            (np.arange(0, 65536, 1366)[:48].reshape(3, 16).T[ramp(4)] >> 8).astype(np.uint8),
        ),
        (encoded(Image.fromarray(DRAWN).quantize(64), "TIFF"), AS_PILLOW),
        (encoded(Image.fromarray(DRAWN).quantize(64).convert("PA"), "TIFF"), AS_PILLOW),
        (tiff_of(R8, "palette", colormap=_MAP16 // 257), REFUSED),
        (tiff(R8, 8, 3), REFUSED),
    ],
    "TIFF, CMYK of 8 or 16 bits": [
        (tiff_of(INK, "separated"), _CMYK),
        (tiff_of(INK.astype(np.uint16) * 257, "separated"), _CMYK),
    ],
    "TIFF, YCbCr": [
        (tiff(DRAWN, 8, 6, tags=[(530, "H", [1, 1])]), _YCBCR),
        (tiff(DRAWN, 8, 6, tags=[(530, "H", [2, 2])]), REFUSED),
        (encoded(DRAWN, "TIFF", compression="jpeg"), AS_PILLOW),
    ],
    "TIFF, unassociated alpha (ExtraSamples 2), or RGB with a fourth sample and no word on it": [
        (tiff(RGBA, 8, 2, tags=[(338, "H", [2])]), OVER_BLACK),
        (tiff(RGBA, 8, 2), OVER_BLACK),
        (tiff(RGBA.astype(np.uint16) * 257, 16, 2, tags=[(338, "H", [2])]), OVER_BLACK),
    ],
    "TIFF, associated alpha (ExtraSamples 1)": [
        (tiff(np.dstack([OVER_BLACK, ALPHA]), 8, 2, tags=[(338, "H", [1])]), OVER_BLACK)
    ],
    "TIFF with one unspecified sample beside grey or RGB (ExtraSamples 0)": [
        (tiff(RGBA, 8, 2, tags=[(338, "H", [0])]), DRAWN),
        (tiff(np.dstack([R8, ALPHA]), 8, 1, tags=[(338, "H", [0])]), R8),
    ],
    "TIFF of more samples (multispectral)": [
        (tiff(np.dstack([RGBA, R8]), 8, 2, tags=[(338, "H", [0, 0])]), REFUSED),
        (tiff(RGBA, 8, 1), REFUSED),
        (tiff(np.dstack([R8, R8]), 8, 1), REFUSED),
    ],
    "TIFF of signed integers, integers of more than 16 bits, complex numbers": [
        (tiff_of(R8.astype(kind)), REFUSED)
        for kind in ("i1", "i2", "i4", "u4", "i8", "u8", "c8", "c16")
    ],
    "TIFF, CIE, ICC or ITU L*a*b*, transparency mask, LogL, LogLuv": [
        *[(tiff(DRAWN, 8, number), REFUSED) for number in (8, 9, 10, 32845)],
        *[(tiff(R8, 8, number), REFUSED) for number in (4, 32844)],
    ],
    "TIFF, raw mosaic (CFA, Bayer), LinearRaw, DNG": [
        (tiff(R12, 12, 32803), "mosaic"),
        (tiff(DRAWN16, 16, 34892), "LinearRaw"),
        (tiff(DRAWN, 8, 2, tags=[(50706, "B", [1, 4, 0, 0])]), "DNG"),
    ],
    "TIFF, both byte orders and fill orders, strips and tiles, planar configuration 1 and 2, "
    "predictors 2 and 3, BigTIFF": [
        *[
            (tiff(values, bits, 2, order, fill, planar, deflate, 7), levels(values, 2**bits - 1))
            for values, bits in ((DRAWN, 8), (DRAWN16, 16), (np.dstack([R12] * 3), 12))
            for order in "<>"
            for fill in (1, 2)
            for planar in (1, 2)
            for deflate in (False, True)
        ],
        *[
            (
                tiff_of(
                    R16,
                    byteorder=order,
                    tile=(16, 32),
                    compression="zlib",
                    predictor=2,
                    bigtiff=big,
                ),
                levels(R16, 65535),
            )
            for order in "<>"
            for big in (False, True)
        ],
        *[
            (
                tiff_of(FLOATS.astype(np.float32), byteorder=order, compression="lzw", predictor=3),
                levels(FLOATS, 1),
            )
            for order in "<>"
        ],
    ],
    "TIFF, no compression, LZW, Deflate, PackBits, JPEG, Zstandard, LZMA, CCITT 2, 3 and 4": [
        *[
            (tiff_of(R16, compression=name, rowsperstrip=11), levels(R16, 65535))
            for name in (None, "lzw", "zlib", "packbits", "zstd", "lzma")
        ],
        *[
            (encoded(BITS, "TIFF", compression=name), levels(BITS, 1))
            for name in ("group3", "group4", "tiff_ccitt")
        ],
        (tiff_of(R8, compression="jpeg"), AS_PILLOW),
        (tiff_of(DRAWN, "rgb", compression="jpeg", tile=(16, 16)), AS_PILLOW),
    ],
    "TIFF in another compression (JPEG 2000, WebP, JPEG XL, LERC, old JPEG)": [
        (tiff_of(DRAWN, "rgb", compression=name), REFUSED)
        for name in ("jpeg2000", "webp", "jpegxl", "lerc")
    ],
    "TIFF of several pages": [
        (encoded(DRAWN, "TIFF", save_all=True, append_images=[Image.fromarray(R8)]), DRAWN),
        (preview_first(), DRAWN),
        (tiff_of(DRAWN, "rgb", subfiletype=1), DRAWN),
    ],
}
