"""Damage: seeded ways in which the files of a bundle can be wrong, one or two at a time."""

import json
import random
from typing import Any

from tests.campaign.bundle_parts import BundleParts
from tests.campaign.folder_damage import FOLDERS, Folder
from tests.campaign.graph_damage import damage_graph

_NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 63, 4096, 2**31, 2**63, 2**64, 10**18, 1e-320, 1e308, -1e308, 0.5),
    *(float("nan"), float("inf"), float("-inf")),
)
_OTHERS: tuple[Any, ...] = (None, True, "text", "", [], {}, [1], {"a": 1}, 10**400)
_WORDS = (
    *("", "..", "../../x", "/etc/passwd", "x" * 10_000, "a\nb", "\x00", "\ud800", "é" * 300),
    *("frame/image", "frame/depth", "tensor/bank", "0/features", "1/score", "9" * 5000 + "/x"),
    *("0" * 64, "rgb", "fp32", "shared", "fused", "²/x", "loop/keys"),
)
_TYPES = ("BF16", "F8_E4M3", "F8_E5M2", "F4", "F64", "U64", "U16", "C64", "I64", "F16", "", None, 1)


def damage(parts: BundleParts, chance: random.Random, again: bool) -> tuple[str, Folder | None]:
    """Damage a bundle in memory.

    Parameters
    ----------
    parts
        Changed in place.
    chance
        Decides everything.
    again
        Whether what was changed is to be hashed again.

    Returns
    -------
    What was done, and what is left to do to the folder after it was written.
    """
    kinds = [json_field, json_field, graph, graph, graph, tensors, tensors, flip, swap]
    later: Folder | None = None
    said = []
    for _ in range(chance.choice((1, 1, 1, 2))):
        kind = chance.choice(kinds)
        try:
            said.append(kind(parts, chance))
        except Exception:  # what the first damage left may be no graph or header any more
            said.append(flip(parts, chance))
    if again:
        parts.hash_again()
        if chance.random() < 0.05:
            said.append(json_text(parts, chance))
            parts.hash_again()
    else:
        choice = chance.random()
        if choice < 0.3:
            later = chance.choice(FOLDERS)
            said = [later.__name__]
        elif choice < 0.4:
            said.append(pointer(parts, chance))
        elif choice < 0.5:
            said.append(json_text(parts, chance))
    return ", ".join(said), later


def json_field(parts: BundleParts, chance: random.Random) -> str:
    """Change one value of the manifest, or the place of one."""
    places = list(_places(parts.manifest))
    holder, key = chance.choice(places)
    value = holder[key]
    way = chance.randrange(8)
    if way == 0 and isinstance(holder, dict):
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[chance.choice(("colour", "format", "views", "", key + "s"))] = value
    elif way == 2:
        same = [place for place in places if place[1] == key]
        other, name = chance.choice(same)
        holder[key], other[name] = other[name], value
    elif way == 3 and isinstance(value, list):
        holder[key] = chance.choice(([], value * 2, value[::-1], value * 5000))
    elif way == 4:
        for _ in range(chance.choice((20, 1000))):
            value = chance.choice(({"a": value}, [value]))
        holder[key] = value
    elif isinstance(value, str) or way == 5:
        shas = sorted(parts.objects)
        holder[key] = chance.choice((chance.choice(_WORDS), chance.choice(shas)))
    else:
        holder[key] = chance.choice((*_NUMBERS, *_NUMBERS, *_OTHERS))
    return f"manifest {key} {way}"


def _places(value: Any) -> Any:
    """Every place in a JSON value, as what holds it and the key."""
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(min(len(value), 3))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def json_text(parts: BundleParts, chance: random.Random) -> str:
    """Change the manifest as text."""
    text = parts.manifest_bytes()
    at = chance.randrange(len(text))
    depth = 100_000
    parts.text = chance.choice(
        (
            text[:at],
            text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :],
            text.replace(b'"version"', b'"version": 1, "version"', 1),
            b"\xef\xbb\xbf" + text,
            b"[" * depth + b"]" * depth,
            b'{"a":' * depth + b"1" + b"}" * depth,
            text.decode().encode("utf-16"),
            b"",
            b"\0" * 4096,
        )
    )
    return "text of the manifest"


def pointer(parts: BundleParts, chance: random.Random) -> str:
    """Change the pointer."""
    key = chance.choice(("format", "manifest", "version"))
    whole = json.dumps(parts.pointer).encode()
    parts.pointer_text = chance.choice(
        (
            json.dumps({**parts.pointer, key: chance.choice((*_OTHERS, "0" * 64, 7))}).encode(),
            json.dumps({**parts.pointer, "colour": 1}).encode(),
            whole[: chance.randrange(len(whole))],
            b"[" * 50_000,
            b"",
            b"{}" * 1_000_000,
        )
    )
    return "pointer"


def graph(parts: BundleParts, chance: random.Random) -> str:
    """Change a graph as one who knows what a graph is."""
    sha = chance.choice(parts.graphs())
    data, beside, said = damage_graph(parts.objects[sha]["graph.onnx"], chance)
    parts.replace(sha, "graph.onnx", data)
    for name, more in beside.items():
        parts.replace(sha, name, more)
    return f"graph {said}"


def tensors(parts: BundleParts, chance: random.Random) -> str:
    """Change the header of a tensor file."""
    sha = chance.choice(parts.tensor_files())
    data = parts.objects[sha]["tensors.safetensors"]
    length = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    name = chance.choice(sorted(header))
    entry = header[name]
    way = chance.randrange(8)
    if way == 0:
        entry["dtype"] = chance.choice(_TYPES)
    elif way == 1:
        place = chance.randrange(len(entry["shape"]) or 1)
        entry["shape"][place : place + 1] = [chance.choice((*_NUMBERS[:10], "x"))]
    elif way == 2:
        entry["shape"] = chance.choice(([], entry["shape"][::-1], [1] * 9, [*entry["shape"], 1]))
    elif way == 3:
        entry["data_offsets"] = chance.choice(([0, 2**63], [4, 2], [-4, 0], [0], "x", [0, 1.5]))
    elif way == 4:
        header[chance.choice(("bank2", "", "x" * 5000, "__metadata__"))] = header.pop(name)
    elif way == 5:
        entry["dtype"], size = chance.choice((("F64", 2), ("F16", 2), ("I32", 1), ("U8", 4)))
        if entry["shape"]:
            entry["shape"][-1] = max(1, entry["shape"][-1] * (4 if size == 4 else 1) // 2)
    elif way == 6:
        rest = rest[: chance.randrange(len(rest) + 1)] + bytes(chance.choice((0, 4, 4096)))
    text = json.dumps(header).encode()
    size = len(text) if way != 7 else chance.choice((0, 1, 2**31, 2**63, 2**64 - 1, len(text) + 9))
    parts.replace(sha, "tensors.safetensors", size.to_bytes(8, "little") + text + rest)
    return f"tensors {way}"


def flip(parts: BundleParts, chance: random.Random) -> str:
    """Change bytes of any file, or cut it off."""
    sha = chance.choice(sorted(parts.objects))
    name = chance.choice(sorted(parts.objects[sha]))
    data = bytearray(parts.objects[sha][name] or b"\0")
    if chance.random() < 0.2:
        parts.replace(sha, name, bytes(data[: chance.randrange(len(data))]))
        return f"cut {name}"
    for _ in range(chance.choice((1, 1, 4, 32))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    parts.replace(sha, name, bytes(data))
    return f"flip {name}"


def swap(parts: BundleParts, chance: random.Random) -> str:
    """Put the files of one object into another."""
    one, other = chance.sample(sorted(parts.objects), 2)
    parts.objects[one], parts.objects[other] = parts.objects[other], parts.objects[one]
    parts.changed |= {one, other}
    return "swap"
