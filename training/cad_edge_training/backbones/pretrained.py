"""Pretrained models by hub id or local folder, through transformers."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from cad_edge.errors import OptionError

LAYER = re.compile(r"\b(?:layers?|blocks)\.\d+\.")
"""In the name of a weight: it belongs to a layer of many."""


class Pretrained(NamedTuple):
    """A model as transformers built it, in float32."""

    model: nn.Module
    config: Any
    name: str
    """The hub id, or the name of the local folder, so that an identity holds no machine's path."""


def load_pretrained(source: str, kinds: tuple[str, ...]) -> Pretrained:
    """Load a model and all of its weights.

    What is on this machine is taken without asking the hub, so that learning works offline and
    does not change when a hub's files do.

    Parameters
    ----------
    source
        Hub id, or a folder that transformers wrote.
    kinds
        Allowed ``model_type`` values of its configuration.

    Raises
    ------
    OptionError
        Nothing is found, it is of another kind, weights are missing, or they are those of another
        architecture than its configuration's.
    """
    try:
        import transformers
    except ImportError:
        raise OptionError(
            f"{source} needs transformers; install it with `pip install transformers` "
            "(extra `train`)"
        ) from None
    config = find_part(transformers.AutoConfig, source)
    if config.model_type not in kinds:
        raise OptionError(
            f"{source} holds a {config.model_type} model; give one of type {' or '.join(kinds)}"
        )
    with _quiet(transformers.logging):
        model, report = find_part(_ModelWithReport(), source)
    _check_weights(source, report)
    return Pretrained(model.float().eval(), config, source_name(source))


def source_name(source: str) -> str:
    """Return the hub id, or the name of the folder."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def find_part(loader: Any, source: str) -> Any:  # noqa: ANN401  (transformers is untyped)
    """Call ``loader.from_pretrained`` on what is here, else on the hub.

    Raises
    ------
    OptionError
        It is in neither place, or damaged.
    """
    if Path(source).is_absolute() and not Path(source).is_dir():
        raise OptionError(f"{source} cannot be loaded: it is not a folder; check the path")
    attempts = (True,) if Path(source).is_dir() else (True, False)
    reason = ""
    for local in attempts:
        try:
            return loader.from_pretrained(source, local_files_only=local)
        except Exception as problem:  # hub, file and format errors share no base class
            reason = str(problem).strip().partition("\n")[0].rstrip(".")
    raise OptionError(
        f"{source} cannot be loaded ({reason}); give a hub id that this machine can reach or a "
        "folder that transformers can read"
    )


def _check_weights(source: str, report: Mapping[str, Any]) -> None:
    """Refuse weights that are not those of the configuration beside them."""
    fault = ""
    if report["mismatched_keys"]:
        name, held, expected = min(report["mismatched_keys"])
        fault = f"{name} is {tuple(held)} and its config.json says {tuple(expected)}"
    elif report["missing_keys"]:
        raise OptionError(f"{source} lacks the weights {min(report['missing_keys'])}; get it again")
    # A checkpoint may hold a head that is not wanted here, but no more layers than are run.
    elif surplus := [name for name in report["unexpected_keys"] if LAYER.search(name)]:
        fault = f"its config.json has no layer for {min(surplus)}"
    if fault:
        raise OptionError(
            f"{source} holds weights of another architecture: {fault}; take both from one model"
        )


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:  # noqa: ANN401  (transformers is untyped)
    """Keep back transformers' table of weights that do not fit; `_check_weights` says it."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


class _ModelWithReport:
    """AutoModel that also tells which weights do not fit, instead of inventing them."""

    def from_pretrained(self, source: str, local_files_only: bool) -> Any:  # noqa: ANN401
        from transformers import AutoModel

        return AutoModel.from_pretrained(
            source,
            local_files_only=local_files_only,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
