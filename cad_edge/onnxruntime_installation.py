"""Which wheel of ONNX Runtime is installed; asked before it is imported."""

from importlib.metadata import PackageNotFoundError, distribution

from cad_edge.errors import DeviceError

_EXTRAS = {
    "onnxruntime": "cad-edge[cpu]",
    "onnxruntime-gpu": "cad-edge[gpu]",
    "onnxruntime-openvino": "cad-edge[openvino]",
}


def refuse_several_wheels() -> None:
    """Raise DeviceError if more than one wheel of ONNX Runtime is installed.

    All own the same import package, so the one that was installed last has overwritten parts of the
    others, and which providers work is chance.
    """
    found = [name for name in _EXTRAS if _is_installed(name)]
    if len(found) > 1:
        raise DeviceError(
            f"{' and '.join(found)} are installed together and overwrite each other; run "
            f"`pip uninstall {' '.join(found)}` and install one of "
            f"{' and '.join(_EXTRAS[name] for name in found)}"
        )


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
