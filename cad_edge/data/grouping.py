r"""Groups of images: which good parts belong together, and so must not be divided.

Windows of one photograph and parts of one batch share more than what makes a part good: its light,
its lens, its roll of material. Where some of a group are learned from and others calibrate, they
vouch for each other, and the threshold comes out lower than new parts will bear. A task of the
stream file says which images belong together, in one of three forms:

    group: {pattern: '^train/good/(\d+)_'}  searched in the path below the product's folder
    group: {table: groups.csv}              a CSV with the columns `file` and `group`
    group: folder                           images lie in train/good/<group>/

Only names and the CSV are read, never an image.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from pydantic import Field, model_validator

from cad_edge.data.folder import key_of
from cad_edge.data.text_file import TABLE_BYTES, read_text
from cad_edge.errors import DatasetError
from cad_edge.schema import OmitDefaults

ANY_PLANE = "*"
"""Stands in a table for the folder of a plane: ``train/good/*/000.png`` for ``rgb/000.png``."""


class GroupRule(OmitDefaults):
    """How the group of an image is told."""

    RARE: ClassVar[frozenset[str]] = frozenset(
        {"pattern", "table", "file_column", "group_column", "folder"}
    )

    pattern: str | None = Field(
        default=None,
        min_length=1,
        description="regular expression; its first group, or else all of its match, names the "
        "group; searched in the path below the product's folder, or in the table's group",
    )
    table: Path | None = Field(default=None, description="CSV; absolute once read")
    file_column: str = Field(default="file", min_length=1)
    group_column: str = Field(default="group", min_length=1)
    folder: bool = Field(default=False, description="the sub-folder that an image lies in")

    @model_validator(mode="before")
    @classmethod
    def _written(cls, written: object) -> object:
        """Take the word ``folder`` for a rule, and say the three forms where it is none."""
        if written == "folder":
            return {"folder": True}
        if not isinstance(written, dict | GroupRule):
            raise ValueError(f"{written!r} is no rule for groups, use {_FORMS}")
        return written

    @model_validator(mode="after")
    def _one_form(self) -> "GroupRule":
        named = self.model_fields_set & {"file_column", "group_column"}
        if self.pattern is None and self.table is None and not self.folder:
            raise ValueError(f"it says no rule for groups, use {_FORMS}")
        if self.folder and (self.pattern is not None or self.table is not None):
            raise ValueError(f"it says two rules for groups, use one of {_FORMS}")
        if named and self.table is None:
            raise ValueError(f"{sorted(named)[0]} names a column, and there is no `table`")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except (re.error, OverflowError, RecursionError) as problem:
                raise ValueError(f"{self.pattern!r} is no regular expression ({problem})") from None
        return self

    def names(self, images: Sequence[str], good: str) -> tuple[str, ...]:
        """Name the group of each image, in their order.

        Parameters
        ----------
        images
            Paths below the product's folder, with slashes, at least one.
        good
            Folder of the good parts below the product's; empty where that is the folder itself.

        Raises
        ------
        DatasetError
            The rule does not tell an image's group, or puts all images into one; the table cannot
            be read, or contradicts itself.
        """
        if self.folder:
            found = _by_folder(images, good)
        elif self.table is not None:
            found = self._by_table(images, self.table)
        else:
            found = self._by_path(images)
        if len(set(found)) < 2:
            raise DatasetError(
                f"`group` puts all {len(images)} images of good parts into one group, {found[0]!r},"
                " and a group is never divided between what is learned from and what is held out; "
                "give a rule that tells groups apart, or leave `group` out"
            )
        return tuple(found)

    def _by_path(self, images: Sequence[str]) -> list[str]:
        found = [self._searched(image) for image in images]
        if missed := [image for image, name in zip(images, found, strict=True) if not name]:
            if len(missed) == len(images):
                said = f"matches no image of good parts, for example not {missed[0]}"
            else:
                said = f"names no group for {missed[0]}{_more(missed)}"
            raise DatasetError(
                f"the pattern {self.pattern!r} of `group` {said}; correct it, it is searched in "
                "the path below the product's folder"
            )
        return found

    def _by_table(self, images: Sequence[str], table: Path) -> list[str]:
        values = _read_table(table, self.file_column, self.group_column)
        keys = [key_of(image) for image in images]
        listed = [values.get(key, []) + values.get(_any_plane(key), []) for key in keys]
        if missed := [image for image, found in zip(images, listed, strict=True) if not found]:
            raise DatasetError(
                f"{table} lacks {missed[0]}{_more(missed)} in its column {self.file_column}; give "
                "every image of good parts a line, with its path below the product's folder"
            )
        return [
            self._agreed(image, found, table) for image, found in zip(images, listed, strict=True)
        ]

    def _agreed(self, image: str, values: Sequence[str], table: Path) -> str:
        """Return the one group that the lines of an image name."""
        names = {value: self._searched(value) for value in values}
        for value, name in names.items():
            if not value:
                raise DatasetError(f"{table} leaves the group of {image} empty; fill it in")
            if not name:
                raise DatasetError(
                    f"the pattern {self.pattern!r} of `group` names no group in {value!r}, which "
                    f"{table} has for {image}; correct one of them"
                )
        if len(set(names.values())) > 1:
            first, second = sorted(set(names.values()))[:2]
            raise DatasetError(
                f"{table} lists {image} twice, in the groups {first!r} and {second!r}; keep one"
            )
        return names[values[0]]

    def _searched(self, text: str) -> str:
        """Group that a text names; empty where it names none."""
        if self.pattern is None:
            return text
        found = re.search(key_of(self.pattern), key_of(text))
        return (found[1 if found.re.groups else 0] or "") if found else ""


_FORMS = "`folder`, {pattern: ...} or {table: ...}"


def _by_folder(images: Sequence[str], good: str) -> list[str]:
    found = [PurePosixPath(image).relative_to(good or ".").parts[:-1] for image in images]
    if loose := [image for image, folders in zip(images, found, strict=True) if not folders]:
        raise DatasetError(
            f"{loose[0]}{_more(loose)} lies in no sub-folder, and `group: folder` takes each "
            "sub-folder for a group; move it into the folder of its group"
        )
    return [folders[0] for folders in found]


def _read_table(table: Path, file_column: str, group_column: str) -> dict[str, list[str]]:
    """Return what the group column has for each file, once for every line of it."""
    found: dict[str, list[str]] = {}
    try:
        with io.StringIO(read_text(table, TABLE_BYTES), newline="") as file:
            reader = csv.DictReader(file)
            known = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = known
            for name in (file_column, group_column):
                if name not in known:
                    raise DatasetError(
                        f"{table} has no column {name} but {', '.join(known) or 'no header'}; name "
                        "its columns by file_column and group_column"
                    )
            for row in reader:
                name = PurePosixPath((row[file_column] or "").strip()).as_posix()
                found.setdefault(key_of(name), []).append((row[group_column] or "").strip())
    except OSError as problem:
        raise DatasetError(
            f"{table} cannot be read: {problem.strerror}; `table` is a CSV file, and its path is "
            "relative to the stream file"
        ) from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DatasetError(f"{table} cannot be read as CSV ({problem}); save it again") from None
    return found


def _any_plane(image: str) -> str:
    """Path of an image with a star for its folder."""
    path = PurePosixPath(image)
    return str(path.parent.parent / ANY_PLANE / path.name)


def _more(images: Sequence[str]) -> str:
    return f" (and {len(images) - 1} more)" if len(images) > 1 else ""
