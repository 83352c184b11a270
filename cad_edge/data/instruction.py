r"""Reader for images with questions and answers, as Anomaly-Instruct-125K has them.

A JSON file holds a list of conversations, each with an image and turns:

    {"id": "7", "image": "zipper/005.png", "conversations": [
        {"from": "human", "value": "<image>\nAre there any defects ... 'Yes' or 'No'."},
        {"from": "gpt", "value": "Yes"}]}

The first answer says whether the part is defective; paths are relative to the file. Where parts are
shown in several views, ``image`` is a list of them.
"""

from pathlib import Path

from cad_edge.data.folder import found_file
from cad_edge.data.product import LabelledImage, ProductImages
from cad_edge.data.text_file import NotReadable, parse_json, read_text
from cad_edge.errors import DatasetError

DEFECT = "anomaly"
"""Kind of defect of an image that was answered with Yes; the format names none."""

_MOST_BYTES = 1 << 30
"""Of a file; 125,000 conversations have some 100 MB."""

_ANSWERS = {"yes": DEFECT, "no": None}


def read_instructions(folder: Path, views: int) -> ProductImages:
    """List the images of every ``*.json`` in ``folder``: all of them labelled, none for testing.

    Parameters
    ----------
    folder
        Holds the files.
    views
        Images of every part.

    Raises
    ------
    DatasetError
        There is no such file, one is not of this form, an image is missing or comes twice with
        different answers, a part has another number of images, or an answer is neither Yes nor No.
    """
    files = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    if not files:
        raise DatasetError(f"{folder} holds no JSON file with conversations; put one there")
    found: dict[tuple[Path, ...], LabelledImage] = {}
    for file in files:
        for number, entry in enumerate(_entries(file)):
            image = _image(entry, file, number, views)
            if found.setdefault(image.views, image) != image:
                raise DatasetError(
                    f"{file} entry {number} answers otherwise than before for {image.path.name}; "
                    "keep one of the answers"
                )
    ordered = [found[paths] for paths in sorted(found)]
    good = [item for item in ordered if not item.anomalous]
    if not good:
        raise DatasetError(f"{folder} holds no image answered with No; add images of good parts")
    return ProductImages(
        train=tuple(item.path for item in good),
        train_more=tuple(item.more for item in good if item.more),
        defective=tuple(item for item in ordered if item.anomalous),
    )


def _entries(file: Path) -> list[object]:
    try:
        content = parse_json(read_text(file, _MOST_BYTES), values=None)
    except OSError as problem:
        raise DatasetError(
            f"{file} cannot be read: {problem.strerror}; give a JSON file of conversations"
        ) from None
    except (UnicodeDecodeError, NotReadable) as problem:
        raise DatasetError(f"{file} is not JSON ({problem}); correct it") from None
    if not isinstance(content, list):
        raise DatasetError(f"{file} is no list of conversations; see docs/data.md")
    return content


def _image(entry: object, file: Path, number: int, views: int) -> LabelledImage:
    where = f"{file} entry {number}"
    match entry:
        case {
            "image": str() | list() as image,
            "conversations": [{"value": str()}, {"value": str(said)}, *_],
        } if all(isinstance(name, str) for name in image):
            names = _names(image, where, views)
        case _:
            raise DatasetError(
                f"{where} lacks an image, a question or its answer; see docs/data.md"
            )
    answer = said.strip().strip(".!").casefold()
    if answer not in _ANSWERS:
        raise DatasetError(f"{where} is answered with {said[:40]!r}; the first answer is Yes or No")
    paths = tuple(_existing(file.parent, name, where) for name in names)
    return LabelledImage(paths[0], defect=_ANSWERS[answer], more=paths[1:])


def _existing(folder: Path, name: str, where: str) -> Path:
    path = found_file(folder, name)
    if path is None:
        raise DatasetError(f"{where} names {name}, which does not exist; correct it")
    return path


def _names(image: str | list[str], where: str, views: int) -> list[str]:
    """Names of the images of an entry, a list of them for several views."""
    names = image if isinstance(image, list) else [image]
    if views == 1 and isinstance(image, list):
        raise DatasetError(
            f"{where} has several images; give one image for each entry, or the task `views`"
        )
    if len(names) != views:
        raise DatasetError(
            f"{where} has {len(names)} image{'s' if len(names) != 1 else ''} where the task has "
            f"views: {views}; give every entry a list of {views}"
        )
    return names
