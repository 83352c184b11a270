"""Text files that people write, read as plain files of bounded size and meaning.

YAML lets a few lines stand for billions: an alias repeats all that its anchor names, and aliases
may repeat aliases. Numbers of thousands of digits, and numbers in parts of sixty, take Python
minutes. What is beyond any stream file is refused here before it costs time or memory.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cad_edge.store.plain_file import read_plain

MAXIMUM_BYTES = 1 << 22
"""Of a file that is written by hand or by a script; 4,096 tasks take half a megabyte."""
TABLE_BYTES = 1 << 28
"""Of a table; a million images take 50 MB."""
MAXIMUM_VALUES = 100_000
"""Values of a file, those that aliases repeat among them; 4,096 tasks have 30,000."""
MAXIMUM_DIGITS = 100
"""Of a number."""
MAXIMUM_DEPTH = 100
"""Of lists and mappings within each other."""


class NotReadable(ValueError):
    """What is wrong with a text, to be put behind the name of its file and a colon."""


def read_text(path: Path, limit: int = MAXIMUM_BYTES) -> str:
    """Text of a plain file in UTF-8, without a byte-order mark.

    Raises
    ------
    OSError
        It cannot be read, is no plain file or larger than ``limit`` bytes; ``strerror`` says so.
    UnicodeDecodeError
        It is not UTF-8.
    """
    return read_plain(path, limit, follow=True).decode("utf-8-sig")


def parse_json(text: str, values: int | None = MAXIMUM_VALUES) -> object:
    """Read JSON of up to so many ``values``; no key may come twice.

    Raises
    ------
    NotReadable
        It is no JSON, or beyond a limit.
    """
    if values is not None and sum(map(text.count, ",[{")) > values:
        raise NotReadable(_TOO_MANY)
    try:
        found = json.loads(
            text, object_pairs_hook=unrepeated, parse_int=_number(int), parse_float=_number(float)
        )
        _require_shallow(found)
        return found
    except RecursionError:
        raise NotReadable(_TOO_DEEP) from None
    except NotReadable:
        raise
    except ValueError as problem:
        raise NotReadable(_short(problem)) from None


def parse_yaml(text: str) -> object:
    """Read YAML of plain values; no key may come twice.

    Raises
    ------
    NotReadable
        It is no such YAML, or beyond a limit.
    """
    try:
        found = yaml.load(text, Loader=_BoundedLoader)  # noqa: S506 - a SafeLoader, see below
        _require_shallow(found)
        return found
    except yaml.MarkedYAMLError as problem:
        line = f" in line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise NotReadable(f"{_short(problem.problem)}{line}") from None
    except RecursionError:
        raise NotReadable(_TOO_DEEP) from None
    except NotReadable:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as problem:
        raise NotReadable(_short(problem)) from None


_TOO_MANY = f"it holds more than {MAXIMUM_VALUES:,} values"
_TOO_DEEP = "it is nested too deep"
_QUOTED = 200  # characters


def _short(problem: object) -> str:
    """First line of what a parser said, which may quote all of the text."""
    said = (str(problem) or "it cannot be parsed").splitlines()[0]
    return said if len(said) <= _QUOTED else f"{said[:_QUOTED]}..."


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a mapping of ``pairs``; raise NotReadable on a key that comes twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise NotReadable(f"the key {twice[:100]} comes twice")
    return content


def _require_shallow(content: object) -> None:
    """Raise NotReadable for what is nested deeper than those who read it can follow."""
    level = [content]
    for _ in range(MAXIMUM_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise NotReadable(_TOO_DEEP)


def _number(kind: Callable[[str], float]) -> Callable[[str], float]:
    """Convert the digits of a number, unless there are more than any number needs."""

    def convert(digits: str) -> float:
        _require_short(digits)
        return kind(digits)

    return convert


def _require_short(digits: str, place: str = "") -> None:
    if len(digits) > MAXIMUM_DIGITS:
        raise NotReadable(
            f"a number{place} has {len(digits):,} digits, and {MAXIMUM_DIGITS} are the most that "
            "are read"
        )


class _BoundedLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which YAML would silently keep the last.

    What aliases repeat is counted before anything is made of it.
    """

    _count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._count += 1
        if self._count > MAXIMUM_VALUES:
            raise NotReadable(_TOO_MANY)
        return super().compose_node(parent, index)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > MAXIMUM_VALUES:
            raise NotReadable(f"{_TOO_MANY}, those that its aliases repeat among them")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        names = [key.value for key, _ in node.value]
        unrepeated([(name, None) for name in names if isinstance(name, str)])
        return super().construct_mapping(node, deep=deep)

    def construct_short(self, node: yaml.ScalarNode) -> object:
        """Make a number of a scalar."""
        _require_short(str(node.value), f" in line {node.start_mark.line + 1}")
        if node.tag.endswith(":int"):
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _BoundedLoader.construct_short)
_BoundedLoader.add_constructor("tag:yaml.org,2002:float", _BoundedLoader.construct_short)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values that a node stands for; ``known`` holds those that were counted."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise NotReadable(f"what begins in line {node.start_mark.line + 1} holds itself")
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]
