"""Which wheel of ONNX Runtime is installed; asked before either is imported."""

from importlib.metadata import PackageNotFoundError, distribution

from cad_edge.errors import DeviceError

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")


def refuse_both_wheels() -> None:
    """Raise DeviceError if onnxruntime and onnxruntime-gpu are both installed.

    Both own the same import package, so the one that was installed last has overwritten parts of
    the other, and which providers work is chance.
    """
    if all(_is_installed(name) for name in _DISTRIBUTIONS):
        raise DeviceError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; run "
            "`pip uninstall onnxruntime onnxruntime-gpu` and install one of cad-edge[cpu] and "
            "cad-edge[gpu]"
        )


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
