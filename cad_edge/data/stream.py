"""The stream file: which products a line learns, in which order, from which folders.

    name: line 4
    false_reject_rate: 0.01
    tasks:
      - {name: cookie, path: images/cookie}
      - {name: candle, path: /data/visa/candle, layout: visa}
      - {name: bagel, path: images/bagel, views: 4}
      - {name: asphalt, path: images/asphalt, group: {pattern: 'photo([0-9]+)'}}

YAML or JSON (by the suffix ``.json``); paths are relative to the file. ``steps`` may group the
tasks for a continual protocol, which measures after every step and not after every task.
"""

import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationError, model_validator

from cad_edge.data.dataset import GOOD_FOLDERS, Layout, read_product
from cad_edge.data.grouping import GroupRule
from cad_edge.data.labelled import LabelledSplit, split_labelled
from cad_edge.data.placing import placed, refuse_shared, stream_folders
from cad_edge.data.product import ProductImages
from cad_edge.data.text_file import NotReadable, parse_json, parse_yaml, read_text
from cad_edge.errors import DatasetError
from cad_edge.schema import Record, TaskName, WithViews, first_error, first_problem


class StreamTask(WithViews):
    """One product of a stream; ``views`` is how many images show each part."""

    RARE: ClassVar[frozenset[str]] = WithViews.RARE | {"group"}

    name: TaskName
    path: Path = Field(description="folder of the product; absolute once read")
    layout: Layout = "mvtec"
    labelled: LabelledSplit | None = Field(
        default=None, description="deal all labelled images anew; none: as the folders do"
    )
    group: GroupRule | None = Field(
        default=None, description="which images belong together; none: each stands for itself"
    )

    @model_validator(mode="after")
    def _sub_folders_are_read(self) -> "StreamTask":
        read = self.layout in GOOD_FOLDERS and self.views == 1 and self.labelled is None
        if self.group is not None and self.group.folder and not read:
            raise ValueError(
                f"`group: folder` goes with the layouts {' and '.join(GOOD_FOLDERS)}, one image of "
                "each part and no `labelled`; use {pattern: ...} or {table: ...} for the groups"
            )
        return self

    def images(self) -> ProductImages:
        """List the images of a product whose parts are shown in one image each.

        Raises
        ------
        DatasetError
            As `samples`, or there are several views.
        """
        if self.views > 1:
            raise DatasetError(
                f"the task {self.name} has views: {self.views}, and this looks at one image of a "
                "part; leave `views` out (train, export, detect and evaluate look at several)"
            )
        return self.samples()

    def samples(self) -> ProductImages:
        """List the parts of the product, whatever the number of their views.

        Raises
        ------
        DatasetError
            As `read_product` and `split_labelled` do.
        """
        by_folder = self.group is not None and self.group.folder
        product = read_product(self.path, self.layout, self.views, by_folder)
        try:
            return product if self.labelled is None else split_labelled(product, self.labelled)
        except DatasetError as problem:
            raise DatasetError(f"{self.path}: {problem}") from None

    def groups(self, product: ProductImages) -> tuple[str, ...] | None:
        """Name the group of each training image of ``product``, in their order.

        Of a part with several views it is that of its first image. No file but the rule's table is
        opened.

        Returns
        -------
        tuple
            A name for each of ``product.train``; None without `group`.

        Raises
        ------
        DatasetError
            As `GroupRule.names`.
        """
        if self.group is None:
            return None
        # Not `relative_to`: a table of images may name some beside the product's folder.
        images = [Path(os.path.relpath(image, self.path)).as_posix() for image in product.train]
        try:
            return self.group.names(images, GOOD_FOLDERS.get(self.layout, ""))
        except DatasetError as problem:
            raise DatasetError(f"task {self.name}: {problem}") from None


class Stream(Record):
    """Products in the order in which they are learned."""

    name: str = Field(min_length=1)
    false_reject_rate: float = Field(
        gt=0, lt=1, description="share of good parts that may be rejected, stated by the user"
    )
    tasks: list[StreamTask] = Field(min_length=1)
    steps: list[list[TaskName]] = Field(
        default=[], description="names of the tasks, grouped and in order; none: a step for each"
    )

    def grouped(self) -> list[list[StreamTask]]:
        """Return the tasks of each step."""
        if not self.steps:
            return [[task] for task in self.tasks]
        named = {task.name: task for task in self.tasks}
        return [[named[name] for name in step] for step in self.steps]


def read_stream(path: Path, root: Path | None = None) -> Stream:
    """Read a stream file; the tasks' paths, and those of their tables, come back absolute.

    Parameters
    ----------
    path
        The file.
    root
        What its paths are relative to; None: the folder that it lies in.

    Raises
    ------
    DatasetError
        The file cannot be read or parsed, has a key that is unknown, missing, given twice or not
        allowed, names two tasks alike, gives one folder to two tasks, or a folder is not there;
        or its steps do not hold every task once and in order.
    """
    content = parse_file(path, "stream file")
    try:
        stream = Stream.model_validate(content)
    except ValidationError as problem:
        named = first_error(problem)["type"] == "string_pattern_mismatch"
        advice = "use up to 64 letters, digits, '_', '.' and '-'" if named else "correct it"
        raise DatasetError(
            f"{path} is not a valid stream file: {first_problem(problem)}; {advice}"
        ) from None
    folders = stream_folders(path) if root is None else (root.absolute(),)
    tasks = [_placed(task, folders, path) for task in stream.tasks]
    _check_tasks(tasks, path, "the stream file" if root is None else str(root))
    _check_steps(stream, path)
    return stream.model_copy(update={"tasks": tasks})


def _placed(task: StreamTask, folders: tuple[Path, ...], file: Path) -> StreamTask:
    """Make a task's paths absolute, which are relative to ``folders``."""
    update: dict[str, object] = {"path": placed(task.path, folders, file)}
    if task.group is not None and task.group.table is not None:
        table = placed(task.group.table, folders, file)
        update["group"] = task.group.model_copy(update={"table": table})
    return task.model_copy(update=update)


def _check_tasks(tasks: list[StreamTask], path: Path, place: str) -> None:
    names: set[str] = set()
    for task in tasks:
        # Names become folder names, and not every file system tells Pcb from pcb.
        if task.name.casefold() in names:
            raise DatasetError(f"{path} names the task {task.name} twice; rename one of them")
        if not os.path.isdir(task.path):  # noqa: PTH112 - it never raises
            raise DatasetError(
                f"{path} names the folder {task.path} for the task {task.name}, which does not "
                f"exist; paths are relative to {place}"
            )
        names.add(task.name.casefold())
    refuse_shared({task.name: (task.path, task.layout) for task in tasks}, path)


def _check_steps(stream: Stream, path: Path) -> None:
    names = [name for step in stream.steps for name in step]
    if stream.steps and (names != [task.name for task in stream.tasks] or not all(stream.steps)):
        raise DatasetError(
            f"{path} has steps that do not hold every task once, in the order of tasks, and at "
            "least one each; correct them, or leave steps out for one task per step"
        )


def parse_file(path: Path, kind: str) -> object:
    """Parse a YAML or JSON file of a ``kind``, such as "stream file"; no key may come twice.

    Raises
    ------
    DatasetError
        It cannot be read or parsed.
    """
    try:
        text = read_text(path)
        return parse_json(text) if path.suffix.lower() == ".json" else parse_yaml(text)
    except OSError as problem:
        raise DatasetError(
            f"{path} cannot be read: {problem.strerror}; give a YAML or JSON {kind}"
        ) from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8 text; give a YAML or JSON {kind}") from None
    except NotReadable as problem:
        raise DatasetError(f"{path} cannot be read as a {kind}: {problem}; correct it") from None
