"""Picture files for tests, written by hand where no library writes them."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

WIDTH, HEIGHT = 64, 48


def ramp(bits: int) -> np.ndarray:
    """(48, 64) of 0 to 2^bits - 1, from left to right."""
    values = np.rint(np.linspace(0, (1 << bits) - 1, WIDTH))
    return np.tile(values, (HEIGHT, 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def levels(values: np.ndarray, white: float) -> np.ndarray:
    """Brightness that values stand for, in uint8; halves are rounded up."""
    return np.floor(values.astype(np.float64) * 255 / white + 0.5).astype(np.uint8)


def reversed_bits(data: bytes) -> bytes:
    """The bits of every byte the other way round."""
    return np.packbits(
        np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, 8)[:, ::-1]
    ).tobytes()


def packed(rows: np.ndarray, bits: int, order: str) -> bytes:
    """(h, n) integers, most significant bit first; each row begins with a byte."""
    if bits in (8, 16, 32, 64):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    single = (rows[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.astype(np.uint8).reshape(len(rows), -1), axis=1).tobytes()


def tiff(
    values: np.ndarray,
    bits: int,
    photometric: int,
    order: str = "<",
    fill: int = 1,
    planar: int = 1,
    deflate: bool = False,
    rows: int = HEIGHT,
    tags: Sequence[tuple[int, str, Sequence[int]]] = (),
) -> bytes:
    """Write a TIFF of (h, w) or (h, w, samples) integers.

    ``tags`` are number, struct format of one value, and values.
    """
    height, width = values.shape[:2]
    planes = np.split(values, values.shape[2], axis=2) if planar == 2 else [values]
    strips = [
        packed(plane[first : first + rows].reshape(-1, plane[0].size), bits, order)
        for plane in planes
        for first in range(0, height, rows)
    ]
    strips = [zlib.compress(one) if deflate else one for one in strips]
    strips = [reversed_bits(one) if fill == 2 else one for one in strips]
    samples = 1 if values.ndim == 2 else values.shape[2]
    begins = 8 + np.cumsum([0, *map(len, strips)])
    fields = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [bits] * samples),
        (259, "H", [8 if deflate else 1]),
        (262, "H", [photometric]),
        (266, "H", [fill]),
        (273, "I", begins[:-1].tolist()),
        (277, "H", [samples]),
        (278, "I", [rows]),
        (279, "I", [len(one) for one in strips]),
        (284, "H", [planar]),
        *tags,
    ]
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    directory = 8 + len(body)
    beyond, entries = b"", b""
    for number, form, numbers in sorted(fields):
        kind = {"B": 1, "H": 3, "I": 4, "b": 6}[form]
        content = struct.pack(f"{order}{len(numbers)}{form}", *numbers)
        if len(content) > 4:
            place = directory + 2 + 12 * len(fields) + 4 + len(beyond)
            beyond += content + bytes(len(content) % 2)
            content = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", number, kind, len(numbers)) + content.ljust(4, b"\0")
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, directory)
    return start + body + struct.pack(order + "H", len(fields)) + entries + bytes(4) + beyond


def tiff_of(values: np.ndarray, photometric: str = "minisblack", **options: object) -> bytes:
    """Write a TIFF by tifffile."""
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def encoded(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    """Write a file by Pillow."""
    file = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(file, form, **options)
    return file.getvalue()


def save(folder: Path, name: str, image: Image.Image, **options: object) -> Path:
    """Write a file by Pillow into a folder, and return its path."""
    path = folder / name
    image.save(path, **options)
    return path


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values: np.ndarray, bits: int, colour: int, *more: bytes) -> bytes:
    """Write a PNG of (h, w) or (h, w, channels); ``more`` are chunks before the pixels."""
    height, width = values.shape[:2]
    lines = values.reshape(height, -1)
    rows = b"".join(b"\0" + packed(line[None], bits, ">") for line in lines)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = (
        chunk(b"IHDR", header),
        *more,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def interlaced(values: np.ndarray, bits: int = 8, colour: int = 0) -> bytes:
    """Write a PNG of (h, w) or (h, w, channels) in the seven passes of Adam7."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    lines = [
        b"\0" + packed(line.reshape(1, -1), bits, ">")
        for row, column, down, across in (*passes, (1, 0, 2, 1))
        for line in values[row::down, column::across]
        if line.size
    ]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 1)
    body = zlib.compress(b"".join(lines))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bmp(values: np.ndarray, bits: int, masks: Sequence[int] = (), top_down: bool = False) -> bytes:
    """Write a BMP of (h, w) grey in 4 bits, or (h, w, 3 or 4); masks of red, green, blue, alpha."""
    height, width = values.shape[:2]
    palette = b""
    if bits == 4:
        rows = (values[:, ::2] & 0xF0) | (values[:, 1::2] >> 4)
        palette = b"".join(bytes([level * 17] * 3 + [0]) for level in range(16))
    elif bits == 16:
        green = 6 if masks else 5
        red = (values[..., 0].astype(np.uint16) >> 3) << (5 + green)
        shades = red | (values[..., 1].astype(np.uint16) >> (8 - green)) << 5 | values[..., 2] >> 3
        rows = shades.astype("<u2").view(np.uint8)
    else:
        order = [2, 1, 0, 3][: bits // 8]
        rows = np.ascontiguousarray(values[..., order]).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    size = 108 if masks else 40
    header = struct.pack(
        "<IiiHHIIiiII", size, width, -height if top_down else height, 1, bits,
        3 if masks else 0, rows.size, 0, 0, 0, 0,
    )  # fmt: skip
    if masks:
        header = (header + struct.pack("<4I", *(*masks, 0)[:4])).ljust(size, b"\0")
    begin = 14 + len(header) + len(palette)
    body = (rows if top_down else rows[::-1]).tobytes()
    start = struct.pack("<2sIHHI", b"BM", begin + len(body), 0, 0, begin)
    return start + header + palette + body


def run_lengths(values: np.ndarray) -> bytes:
    """Write a BMP of (h, w) grey by run lengths of one."""
    height, width = values.shape
    body = b"".join(
        b"".join(bytes([1, level]) for level in line) + b"\0\0" for line in values[::-1]
    )
    body += b"\0\1"
    palette = b"".join(bytes([level] * 3 + [0]) for level in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = struct.pack("<2sIHHI", b"BM", 54 + 1024 + len(body), 0, 0, 54 + 1024)
    return start + header + palette + body
