"""A picture of the line: a row for every part, good and with each defect, image beside depth."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cad_edge.data.image import Frame
from cad_edge_studies.procedural_rgbd_line.defects import DEFECTS
from cad_edge_studies.procedural_rgbd_line.parts import PARTS
from cad_edge_studies.procedural_rgbd_line.scenes import DISTANCE, Scene, render

_SHOWN = 80  # pixels of a picture
_HEAD, _SIDE = 16, 62  # pixels of titles
_HIGHEST = 14.0  # mm, drawn white
_OUTLINE = (255, 60, 60)
_COLOURS = 128  # enough to judge it by, and half the file


def draw_grid(path: Path, seed: int) -> None:
    """Write a PNG; depth is grey, higher is lighter and no measurement dark blue."""
    columns = [None, *DEFECTS]
    size = (_SIDE + 2 * _SHOWN * len(columns), _HEAD + _SHOWN * len(PARTS))
    sheet = Image.new("RGB", size, (250, 250, 250))
    pen = ImageDraw.Draw(sheet)
    for column, defect in enumerate(columns):
        shows = f" ({DEFECTS[defect].shows})" if defect else ""
        title = f"{defect or 'good'}{shows}"
        pen.text((_SIDE + 2 * _SHOWN * column + 4, 2), title, fill=(0, 0, 0))
    for row, name in enumerate(PARTS):
        pen.text((2, _HEAD + _SHOWN * row + _SHOWN // 2), name, fill=(0, 0, 0))
        for column, defect in enumerate(columns):
            scene = render(name, (seed, row, 2, column), defect)
            pair = np.concatenate([_outlined(scene), _shaded(scene)], axis=1)
            picture = Image.fromarray(pair).resize((2 * _SHOWN, _SHOWN))
            sheet.paste(picture, (_SIDE + 2 * _SHOWN * column, _HEAD + _SHOWN * row))
    sheet.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _outlined(scene: Scene) -> Frame:
    mask = scene.mask
    shifted = [np.roll(mask, step, axis) for step in (2, -2) for axis in (0, 1)]
    border = np.any(shifted, axis=0) & ~mask
    shown = scene.rgb.copy()
    shown[border] = _OUTLINE
    return shown


def _shaded(scene: Scene) -> Frame:
    height = (DISTANCE - scene.depth) / _HIGHEST
    grey = (40 + 215 * np.clip(height, 0, 1)).astype(np.uint8)
    shown = np.repeat(grey[..., None], 3, axis=2)
    shown[scene.depth == 0] = (20, 20, 110)
    return shown
