"""Reader for the layout of Eyecandies (Bonfiglioli et al., ACCV 2022), as its archives unpack.

    CandyCane/train/data/000_image_4.png          1000 good parts
              val/data/00_image_4.png             100 further good parts
              test_public/data/00_image_4.png     25 good and 25 defective parts
              test_private/data/...               without labels; passed over

Every part has, under its number:

    _image_0.png ... _image_5.png    rgb under one light each
    _depth.png, _info_depth.yaml     depth of 16 bits, and the distances that its ends stand for
    _mask.png                        where the defect is; black for a good part
    _metadata.yaml                   anomalous: 0 or 1, and anomalous_bumps, _dents, _colors and
                                     _normals for the kinds of defect; a part can have several
    _normals.png, _pose.txt, _obj_params.yaml and a mask for each kind, which are not used

Names, items and the conversion to metres are those of the data set's page (docs/download.md of
github.com/eyecan-ai/eyecandies): metres are ``value / 65535 * (max - min) + min`` with
``normalization.min`` and ``.max`` of the YAML file. A value of 0 is the nearest point and no gap:
the images are rendered, and every pixel has a distance. `anomalous` is what that project's own
converter asks for (dags/to_anomalib.yaml); the keys of the kinds are as a reader of others has
them, and a file may lack them.

Of the six lights image_4, the lamp on the left, is taken: M3DM's preprocessing
(utils/preprocess_eyecandies.py of github.com/nomewang/M3DM) does, and what compares itself with
M3DM. The parts of ``val`` are learned from after those of ``train``, as validation images of
MVTec 3D-AD are.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cad_edge.data.folder import images_in
from cad_edge.data.folder_names import refuse_other_names
from cad_edge.data.left_out import refuse_deeper
from cad_edge.data.product import LabelledImage, ProductImages
from cad_edge.data.rgbd_folders import match_depths
from cad_edge.data.text_file import NotReadable, parse_yaml, read_text
from cad_edge.errors import CadEdgeError, DatasetError, ImageError

LIGHT = "image_4"
KINDS = ("bumps", "dents", "colors", "normals")
COMBINED = "combined"
"""Kind of a part with several kinds of defect, as MVTec 3D-AD calls it."""
UNNAMED = "anomaly"
"""Kind of a part whose file names none."""

_DEPTH = "_depth.png"
_NAME = re.compile(r"[0-9]+_(image_[0-9]+|depth|normals|([a-z]+_)?mask)\.png")
_INFO = "_info_depth.yaml"


def read_eyecandies(path: Path) -> ProductImages:
    """List the images of one object class.

    Parameters
    ----------
    path
        Folder of the class, absolute.

    Raises
    ------
    DatasetError
        There are no images of good parts, an image lacks its depth or depth its image, depth lacks
        its distances, a test image its label, or a mask its image.
    """
    refuse_other_names(path, ("train", "val", "test_public"))
    for place in ("train", "val", "test_public"):
        refuse_other_names(path / place, ("data",))
    learned = _parts(path / "train" / "data")
    if not learned:
        raise DatasetError(
            f"{path / 'train' / 'data'} holds no NNN_{LIGHT}.png; put the images of good parts "
            "there, as Eyecandies names them"
        )
    learned += _parts(path / "val" / "data")
    tested = _tested(path / "test_public" / "data")
    return ProductImages(
        train=tuple(image for _, image, _ in learned),
        train_depth=tuple(depth for _, _, depth in learned),
        test=tuple(sorted(tested, key=lambda item: (item.anomalous, item.label, item.path))),
    )


def depth_bounds(depth: Path) -> tuple[float, float] | None:
    """Distances that 0 and 65535 of a depth image stand for.

    Parameters
    ----------
    depth
        File of 16-bit depth.

    Returns
    -------
    Nearest and farthest, in metres; None where the file is none of Eyecandies, which is known by
    its name and the YAML file beside it.

    Raises
    ------
    ImageError
        The YAML file cannot be read, or lacks the two numbers.
    """
    info = _info_of(depth)
    if not depth.name.endswith(_DEPTH) or not info.is_file():
        return None
    span = _mapping(info, ImageError).get("normalization")
    near, far = _number(span, "min"), _number(span, "max")
    if near is None or far is None or not 0 < near < far:
        raise ImageError(
            f"{info} lacks normalization.min and .max, metres above 0 of which min is the smaller "
            f"one; without them {depth.name} has no unit"
        )
    return near, far


def _number(mapping: object, key: str) -> float | None:
    """Return a finite number of a YAML mapping; true and false are numbers to Python alone."""
    value = mapping.get(key) if isinstance(mapping, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _info_of(depth: Path) -> Path:
    return depth.with_name(depth.name.removesuffix(_DEPTH) + _INFO)


def _parts(folder: Path) -> list[tuple[str, Path, Path]]:
    """List number, image and depth of every part of a folder, by number."""
    files = images_in(folder)
    refuse_deeper(folder)
    if odd := [path for path in files if not _NAME.fullmatch(path.name)]:
        raise DatasetError(
            f"{odd[0]} would be left out, as Eyecandies names an image NNN_{LIGHT}.png; rename it, "
            "or move it out of the folder"
        )
    images, depths = _items(files, LIGHT), _items(files, "depth")
    matched = match_depths(depths, images, folder)
    for depth in matched:
        info = _info_of(depth)
        if not info.is_file():
            raise DatasetError(f"{depth} has no {info.name} beside it; add it")
    return [(number, images[number], depth) for number, depth in zip(images, matched, strict=True)]


def _tested(folder: Path) -> list[LabelledImage]:
    masks = _items(images_in(folder), "mask")
    found: list[LabelledImage] = []
    for number, image, depth in _parts(folder):
        mask = masks.pop(number, None)
        kind = _kind(folder / f"{number}_metadata.yaml")
        found.append(LabelledImage(image, kind, mask if kind else None, depth))
    for mask in masks.values():
        raise DatasetError(f"{mask} has no image; add NNN_{LIGHT}.png or remove the mask")
    return found


def _items(files: Sequence[Path], item: str) -> dict[str, Path]:
    """Files of one item by the number of the part; ``bumps_mask`` is another item than ``mask``."""
    ending = f"_{item}.png"
    numbered = ((path.name.removesuffix(ending), path) for path in files)
    return {number: path for number, path in numbered if number.isdigit()}


def _kind(metadata: Path) -> str | None:
    """Kind of defect of a test image, None for a good part."""
    labels = _mapping(metadata, DatasetError)
    if labels.get("anomalous") not in (0, 1):  # true and false as well
        raise DatasetError(f"{metadata} has no `anomalous: 0` or `anomalous: 1`; add the label")
    if not labels["anomalous"]:
        return None
    kinds = [kind for kind in KINDS if labels.get(f"anomalous_{kind}")]
    return kinds[0] if len(kinds) == 1 else COMBINED if kinds else UNNAMED


def _mapping(path: Path, error: type[CadEdgeError]) -> dict[str, Any]:
    try:
        content = parse_yaml(read_text(path))
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}; copy it again") from None
    except UnicodeDecodeError:
        raise error(f"{path} is not YAML: it is not UTF-8 text; copy it again") from None
    except NotReadable as problem:
        raise error(f"{path} is not YAML: {problem}; copy it again") from None
    if not isinstance(content, dict):
        raise error(f"{path} holds no keys with values; copy it again")
    return content
