"""How much memory a picture takes, and what is said where there is too little."""

import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

HEIGHT, WIDTH = 2500, 4000  # 10 megapixels
FRAME = HEIGHT * WIDTH * 3

PROBE = """
import resource, sys
from pathlib import Path
from cad_edge.data.image import ImageRecipe, decode_image
from cad_edge.errors import ImageError

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024

large, small, room = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
recipe = ImageRecipe(width=256, height=256)
recipe.apply(decode_image(small))
before = status("VmHWM")
if room:
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + room,) * 2)
try:
    recipe.apply(decode_image(large))
    print(status("VmHWM") - before)
except ImageError as problem:
    print(problem)
decode_image(small)
"""


def save(name: str, path: Path, values: np.ndarray) -> None:
    """Write one kind of file."""
    picture = Image.fromarray(values)
    if name == "PNG of 16 bits":
        path.write_bytes(imagecodecs.png_encode(values.astype(np.uint16) * 257, level=1))
    elif name == "PNG of RGBA":
        alpha = np.full((*values.shape[:2], 1), 200, np.uint8)
        path.write_bytes(imagecodecs.png_encode(np.concatenate([values, alpha], 2), level=1))
    elif name == "grey PNG of 16 bits":
        deep = np.ascontiguousarray(values[..., 0]).astype(np.uint16) * 257
        path.write_bytes(imagecodecs.png_encode(deep, level=1))
    elif name == "TIFF of 16 bits":
        deep = values.astype(np.uint16) * 257
        tifffile.imwrite(path, deep, photometric="rgb", compression="zlib", rowsperstrip=64)
    elif name == "PNG":
        picture.save(path, name, compress_level=1)
    else:
        picture.save(path, name)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Where each kind lies twice, large and small; written when it is asked for."""
    folder = tmp_path_factory.mktemp("pictures")
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.uint8)
    values = np.stack([columns, rows, columns + rows], axis=2)

    def found(name: str) -> tuple[Path, Path]:
        large, small = folder / f"{name} large", folder / f"{name} small"
        if not large.exists():
            save(name, large, values)
            save(name, small, np.ascontiguousarray(values[:100, :100]))
        return large, small

    return found


def probed(large: Path, small: Path, room: int = 0) -> str:
    """Decode in a process of its own, which says how much more it took, or what is wrong."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, large, small, str(room)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("PNG", 2.2),
        ("JPEG", 2.2),
        ("TIFF", 2.2),
        ("BMP", 2.6),  # Pillow has four bytes for each pixel
        ("PNG of RGBA", 2.6),
        ("grey PNG of 16 bits", 2.2),
        ("PNG of 16 bits", 3.3),  # of which two are the file's own numbers
        ("TIFF of 16 bits", 3.3),
    ],
)
def test_peak_stays_near_what_is_decoded_and_the_frame(pictures, name, most):
    assert int(probed(*pictures(name))) < most * FRAME


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "BMP", "TIFF of 16 bits"])
@pytest.mark.parametrize("room", [2 << 20, 24 << 20])
def test_too_little_memory_is_not_damage(pictures, name, room):
    large, small = pictures(name)
    said = probed(large, small, room)
    assert said.startswith(f"there is not enough memory to decode {large}; give the process more")
    assert len(said.splitlines()) == 1
