"""The file formats of images: which are read, and by which suffixes a folder's images are found."""

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".pgm", ".ppm", ".pbm", ".pnm"),
}
"""Pillow's name of each format, and its suffixes in lower case."""

SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
