"""The errors of cad-edge; each message is one sentence that names the culprit and what to do.

CadEdgeError
├── ImageError         an image or array that cannot be used
├── DatasetError       a dataset folder or stream file that cannot be used
├── OptionError        an option that does not exist or a value that is not allowed
├── ArtifactError      an artifact that cannot be read or does not fit
├── BundleError        a bundle that cannot be opened or written
│   ├── IntegrityError a byte that is not what the manifest says
│   ├── TrustError     a version that nobody whom this device trusts has signed
│   └── BundleLocked   another process is writing to the bundle
├── GraphError         a graph that the runtime refuses to load
├── CertificateError   an exported engine that does not answer as torch did
├── ProcessError       another process of the same training that has ended
├── DeviceError        the asked-for device or execution provider is not to be had
└── UnknownTask        a task name that the bundle does not hold
"""

LONGEST_MESSAGE = 500  # characters; a path and a sentence fit, a quoted file does not
_TAIL = 200  # of them from the end, where a sentence says what to do


class CadEdgeError(Exception):
    """Base of every error that a caller can act on; its message is one printable line.

    Messages quote names and values that others chose: what cannot be printed in them is escaped,
    and what is too long is cut in the middle.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    r"""Make ``text`` one printable line of at most `LONGEST_MESSAGE` characters.

    Beginning and end are kept. Bytes of a file name that are not UTF-8 are written as ``\xff``.

    Examples
    --------
    >>> one_line("two\nlines")
    'two\\nlines'
    """
    if len(text) > LONGEST_MESSAGE:  # once before, so that 100 MB are not escaped one by one
        text = _cut(text)
    if text.isprintable():
        return text
    return _cut("".join(sign if sign.isprintable() else _escaped(sign) for sign in text))


def _cut(text: str) -> str:
    if len(text) <= LONGEST_MESSAGE:
        return text
    return f"{text[: LONGEST_MESSAGE - _TAIL - 5]} ... {text[-_TAIL:]}"


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # how Python holds a byte of a name that is not UTF-8
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode("ascii")


class ImageError(CadEdgeError):
    """An image file or array cannot be used."""


class DatasetError(CadEdgeError):
    """A dataset folder or stream file cannot be used."""


class OptionError(CadEdgeError):
    """An option does not exist or its value is not allowed."""


class ArtifactError(CadEdgeError):
    """An artifact cannot be read, or does not fit the others."""


class BundleError(CadEdgeError):
    """A bundle cannot be opened or written."""


class IntegrityError(BundleError):
    """A file of a bundle is missing or is not what its sha256 says."""


class TrustError(BundleError):
    """A version is unsigned, wrongly signed, expired, or older than one seen before."""


class BundleLocked(BundleError):
    """Another process is writing to the bundle."""


class GraphError(CadEdgeError):
    """A graph breaks the rules that hold before a session is created."""


class CertificateError(CadEdgeError):
    """An exported engine does not answer as the torch model did."""


class ProcessError(CadEdgeError):
    """Another process of the same training has ended."""


class DeviceError(CadEdgeError):
    """The asked-for device or execution provider is not what the session got."""


class UnknownTask(CadEdgeError):
    """A task name that the bundle does not hold."""
