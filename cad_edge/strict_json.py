"""JSON as every reader of it understands it, and nothing that two readers take differently.

Python's own reader takes NaN, keys that stand twice, numbers beyond float64 and UTF-16 as well, and
ends in a RecursionError where lists are nested without end. A record that is named by its sha256
has to mean one thing to all programs, so all of this is refused.
"""

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

MAXIMUM_VALUES = 4_000_000
"""Values of a file; 64 MB of calibration scores hold fewer, and so many fit into memory."""
MAXIMUM_KEYS = 500_000
"""Keys of a file, each of which may be a mistake; 4,096 tasks have fewer."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_INTEGER_DIGITS = 20  # of a signed integer of 64 bits, with its sign


class NotStrictJson(ValueError):
    """What is wrong, to be put behind the name of a file: ``holds the key 'format' twice``."""


def read_json_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    data
        UTF-8 without a byte-order mark.

    Raises
    ------
    NotStrictJson
        It is no JSON object, holds a key twice, a number that is not finite or an integer beyond 64
        bits, is nested hundreds deep, or has more values or keys than there may be.

    Examples
    --------
    >>> read_json_object(b'{"format": 1}')
    {'format': 1}
    """
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > MAXIMUM_VALUES:
        raise NotStrictJson(f"holds more than {MAXIMUM_VALUES:,} values")
    objects = _Objects()
    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=objects.unique,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_constant,
        )
    except NotStrictJson:
        raise
    except UnicodeDecodeError as problem:
        raise NotStrictJson(f"is not UTF-8 (byte {problem.start})") from None
    except RecursionError:
        raise NotStrictJson("is nested too deep") from None
    except ValueError:
        raise NotStrictJson("is not a JSON object") from None
    if not isinstance(found, dict):
        raise NotStrictJson("is not a JSON object")
    _require_characters(data, found)
    return found


def _require_characters(data: bytes, found: object) -> None:
    """Refuse half of a surrogate pair, which no text may hold and no file can be written with."""
    if _SURROGATE.search(data) is None:
        return
    try:
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise NotStrictJson("holds half of a surrogate pair, which is no character") from None


class _Objects:
    """Takes every object of a file, and counts the keys."""

    def __init__(self) -> None:
        self._keys = 0

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._keys += len(pairs)
        if self._keys > MAXIMUM_KEYS:
            raise NotStrictJson(f"holds more than {MAXIMUM_KEYS:,} keys")
        found = dict(pairs)
        if len(found) != len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise NotStrictJson(f"holds the key {twice[:100]!r} twice")
        return found


def _integer(digits: str) -> int:
    if len(digits) > _INTEGER_DIGITS or not -(2**63) <= int(digits) < 2**63:
        raise NotStrictJson(f"holds an integer of {len(digits):,} digits, beyond 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotStrictJson(f"holds the number {digits[:40]}, which is beyond float64")
    return value


def _constant(name: str) -> NoReturn:
    raise NotStrictJson(f"holds {name}, which is no number of JSON")
