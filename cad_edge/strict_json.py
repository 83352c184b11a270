"""JSON as every reader of it understands it, and nothing that two readers take differently.

Python's own reader takes NaN, keys that stand twice, numbers beyond float64 and UTF-16 as well, and
ends in a RecursionError where lists are nested without end. A record that is named by its sha256
has to mean one thing to all programs, so all of this is refused.
"""

import json
import math
from collections import Counter
from typing import Any, NoReturn

MAXIMUM_VALUES = 4_000_000
"""Keys and values of a file; 64 MB of calibration scores hold fewer, and they fit into memory."""

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
        bits, is nested hundreds deep, or has more than `MAXIMUM_VALUES` values.

    Examples
    --------
    >>> read_json_object(b'{"format": 1}')
    {'format': 1}
    """
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > MAXIMUM_VALUES:
        raise NotStrictJson(f"holds more than {MAXIMUM_VALUES:,} values")
    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
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
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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
