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


class CadEdgeError(Exception):
    """Base of every error that a caller can act on; the command line prints it as one line."""


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
