"""Arguments of a detector, checked before anything is opened: a wrong kind is one sentence.

What a caller gives by mistake must neither come back as an error of Python's nor fill a log, as an
object with a representation of megabytes would.
"""

import os
from pathlib import Path

import numpy as np

from cad_edge.errors import BundleError, OptionError

_BRIEF = 60  # characters of a value that a sentence repeats


def brief(value: object) -> str:
    """Return how ``value`` is written in Python, on one line and shortened."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # the representation is the caller's, and so are its faults
        text = f"a {type(value).__name__}"
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}..."


def require_folder(bundle: object) -> Path:
    """Return the path of a bundle; raise BundleError for what is no path."""
    if isinstance(bundle, (str, os.PathLike)):
        try:
            path = Path(bundle)
            named = b"\0" not in os.fsencode(path)
        except (TypeError, ValueError):  # a path of bytes, or characters that no file name has
            named = False
        if named:
            return path
    raise BundleError(
        f"bundle={brief(bundle)} is not the path of a folder; give the one that `cad-edge export` "
        "wrote"
    )


def require_switch(name: str, value: object) -> bool:
    """Return a value that is True or False; raise OptionError for any other."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise OptionError(f"{name}={brief(value)} is not allowed; give True or False")


def require_name(task: object) -> None:
    """Raise OptionError for what cannot be the name of a product."""
    if task is not None and not isinstance(task, str):
        raise OptionError(
            f"task={brief(task)} is not the name of a product; give a string, or leave it out to "
            "have the product recognised"
        )
