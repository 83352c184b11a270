"""A writer of ONNX bytes, for files that no library would write; needs no `onnx`."""

from collections.abc import Sequence


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(dims: Sequence[int], raw: bytes | None = None, **entries: str) -> bytes:
    data = b"".join(field(1, size) for size in dims) + field(2, 1) + field(8, "w")
    data += b"".join(field(13, field(1, key) + field(2, text)) for key, text in entries.items())
    return data + (field(14, 1) if entries else field(9, raw or b""))


def node(kind: str = "Relu", attribute: bytes = b"", domain: str | None = None) -> bytes:
    data = field(1, "x") + field(2, "y") + field(4, kind)
    data += field(5, field(1, "a") + attribute) if attribute else b""
    return data + (b"" if domain is None else field(7, domain))


def port(name: str, dims: Sequence[int] = (1, 4)) -> bytes:
    shape = b"".join(field(1, field(1, size)) for size in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def graph(nodes: bytes | None = None, inputs: Sequence[str] = ("x",), rest: bytes = b"") -> bytes:
    ports = b"".join(field(11, port(name)) for name in inputs) + field(12, port("y"))
    return (field(1, node()) if nodes is None else nodes) + ports + rest


def model(body: bytes | None = None, opset: int = 18, rest: bytes = b"") -> bytes:
    return (
        field(1, 10)
        + field(7, graph() if body is None else body)
        + field(8, field(2, opset))
        + rest
    )


def operation(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | list[int] | str
) -> bytes:
    """Write a node of a graph, with the field's key."""
    data = b"".join(field(1, name) for name in inputs)
    data += b"".join(field(2, name) for name in outputs) + field(4, kind)
    for name, value in attributes.items():
        if isinstance(value, list):
            body, form = b"".join(field(8, number) for number in value), 7
        elif isinstance(value, int):
            body, form = field(3, value), 2
        else:
            body, form = field(4, value), 3
        data += field(5, field(1, name) + body + field(20, form))
    return field(1, data)


def numbers(name: str, values: Sequence[int], scalar: bool = False) -> bytes:
    """Write an int64 weight of a graph, with the field's key."""
    raw = b"".join(value.to_bytes(8, "little", signed=True) for value in values)
    dims = b"" if scalar else field(1, len(values))
    return field(5, dims + field(2, 7) + field(8, name) + field(9, raw))


def free_port(name: str, dims: Sequence[int | str], kind: int = 1) -> bytes:
    """Write an input or output whose sizes may vary."""
    shape = b"".join(
        field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in dims
    )
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))
