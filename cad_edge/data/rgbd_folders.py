"""Readers for folders that hold depth beside every image: ours, and MVTec 3D-AD as published.

    train/good/{rgb,depth}/000.png              layout rgbd
    test/hole/{rgb,depth,gt}/000.png

    train/good/{rgb/000.png,xyz/000.tiff}       layout mvtec3d (Bergmann et al., VISAPP 2022)
    validation/good/{rgb/000.png,xyz/000.tiff}
    test/hole/{rgb/000.png,xyz/000.tiff,gt/000.png}

What MVTec 3D-AD calls validation are further good parts. They are learned from as those of
``train`` are, and come after them: which good parts are held out for the threshold is drawn from
all of them, so a second division by folders would only leave images unused.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from cad_edge.data.folder import folders_in, images_in, key_of
from cad_edge.data.folder_names import refuse_other_names
from cad_edge.data.ground_truth import masks_of
from cad_edge.data.left_out import refuse_beside_good, refuse_deeper, refuse_left_out
from cad_edge.data.product import (
    GOOD,
    LabelledImage,
    ProductImages,
    good_parts,
    kinds_in,
    labelled_image,
)
from cad_edge.errors import DatasetError


def read_rgbd(path: Path) -> ProductImages:
    """List a product in the layout ``rgbd``.

    Parameters
    ----------
    path
        The product's folder, absolute.

    Raises
    ------
    DatasetError
        There are no images of good parts, an image lacks its depth or depth its image, two files
        are told apart by their suffixes alone, a mask has no image or an image two masks, an
        image has no label, or some would be left out.
    """
    return _read(path, "depth", [path / "train" / GOOD, path / "validation" / GOOD])


def read_mvtec3d(path: Path) -> ProductImages:
    """List a product in the layout ``mvtec3d``; parameter and errors are those of `read_rgbd`."""
    return _read(path, "xyz", [path / "train" / GOOD, path / "validation" / GOOD])


def match_depths(
    depths: Mapping[str, Path], images: Mapping[str, Path], folder: Path
) -> tuple[Path, ...]:
    """Depth of each image, in the order of the images; both sides must be complete.

    Parameters
    ----------
    depths, images
        Files by what the two of one part share in their names.
    folder
        Where depth is looked for, for the message.

    Raises
    ------
    DatasetError
        An image has no depth, or depth has no image.
    """
    counts = f"{len(images)} rgb images and {len(depths)} depth images"
    for key, image in images.items():
        if key not in depths:
            raise DatasetError(
                f"{image} has no depth image in {folder} ({counts}); add it or remove the image"
            )
    if extra := sorted(set(depths) - set(images)):
        raise DatasetError(
            f"{depths[extra[0]]} has no rgb image ({counts}); add it or remove the depth image"
        )
    return tuple(depths[key] for key in images)


def _read(path: Path, depth: str, good: list[Path]) -> ProductImages:
    refuse_other_names(path, ("train", "test", "validation"))
    for folder in good:
        refuse_beside_good(folder.parent)
        _refuse_beside_planes(folder, ("rgb", depth))
    train = good_parts(good[0] / "rgb")
    train_depth = _depths(good[0], depth, train)
    for folder in good[1:]:
        refuse_deeper(folder / "rgb")
        further = images_in(folder / "rgb")
        train_depth += _depths(folder, depth, further)
        train += further
    test = [item for kind in kinds_in(path / "test") for item in _test(path / "test" / kind, depth)]
    return ProductImages(train=train, train_depth=train_depth, test=tuple(test))


def _test(folder: Path, depth: str) -> list[LabelledImage]:
    """Test images of one kind."""
    _refuse_beside_planes(folder, ("rgb", depth, "gt"))
    refuse_deeper(folder / "rgb")
    images = images_in(folder / "rgb")
    depths = _depths(folder, depth, images)
    drawn = masks_of(folder / "gt", images, folder.name)
    return [
        labelled_image(image, folder.name, drawn.get(image), plane)
        for image, plane in zip(images, depths, strict=True)
    ]


def _refuse_beside_planes(folder: Path, planes: tuple[str, ...]) -> None:
    """Raise DatasetError for images beside the folder ``rgb``, or in folders of further parts."""
    if loose := images_in(folder):
        raise DatasetError(
            f"{loose[0]} lies beside the folder rgb and would be left out; move it into "
            f"{folder / 'rgb'}, and its depth into the folder beside that"
        )
    refuse_other_names(folder, planes)
    batches = [place for place in folders_in(folder) if (place / "rgb").is_dir()]
    refuse_left_out([place / "rgb" for place in batches], folder / "rgb", "with their depth, ")


def _depths(folder: Path, depth: str, images: Iterable[Path]) -> tuple[Path, ...]:
    place = folder / depth
    refuse_deeper(place)
    return match_depths(_by_stem(images_in(place)), _by_stem(images), place)


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        stem = key_of(path.stem)
        if found.setdefault(stem, path) != path:
            raise DatasetError(
                f"{path} and {found[stem].name} differ in the suffix alone, or in how letters are "
                "written (Unicode NFC and NFD); keep one of them"
            )
    return found
