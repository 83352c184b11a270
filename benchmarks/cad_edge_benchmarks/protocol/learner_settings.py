"""What each learner of a study is, with nothing left open, and what no study may ask for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cad_edge.errors import CadEdgeError, OptionError
from cad_edge.schema import Record
from cad_edge_benchmarks.protocol.study import BaselineName, LearnerEntry, Size, Study


class LearnerSettings(Record):
    """One learner of a study with nothing left open."""

    baseline: BaselineName | None
    one_step: bool
    method: str
    backbone: str
    size: Size | None
    options: dict[str, str]

    @property
    def is_reference(self) -> bool:
        """Whether `replay` may store as many bytes as this one keeps."""
        return self.baseline is None and not self.one_step

    @property
    def knows_order(self) -> bool:
        """Whether what it learns depends on the order of tasks."""
        return not self.one_step and self.baseline != "separate"

    @property
    def network(self) -> tuple[str, int | None]:
        """Backbone and input side, None for the backbone's own and for what each product gets."""
        return self.backbone, None if self.size == "auto" else self.size


def settle(study: Study, path: Path | None) -> dict[str, LearnerSettings]:
    """Settle what every learner of a study is; whatever is wrong is said before one learns.

    Parameters
    ----------
    study
        With the options of the call, where it has any.
    path
        The study file; None where the command line alone says what is learned.

    Raises
    ------
    CadEdgeError
        There is no such method, backbone or option, or they do not fit together.
    """
    from cad_edge_training.backbones import load_backbone

    settled: dict[str, LearnerSettings] = {}
    for name, entry in study.learners.items():
        with errors_naming(path, f"learner {name}"):
            learner, before = _settings(study, entry or LearnerEntry()), settled.values()
            if learner.baseline == "replay" and not any(one.is_reference for one in before):
                raise OptionError(
                    "replay stores as many bytes as a learner without baseline keeps; put one "
                    "before it"
                )
            _check(learner)
            if not any(one.network == learner.network for one in before):
                load_backbone(*learner.network)
        settled[name] = learner
    return settled


@contextmanager
def errors_naming(path: Path | None, place: str = "") -> Iterator[None]:
    """Have errors name the study file and the place in it instead of an option."""
    try:
        yield
    except CadEdgeError as problem:
        if path is None:
            raise
        said = re.sub(r"^--set:? ", "option ", str(problem))
        said = re.sub(r"^--(?!data)[a-z-]+", lambda key: key[0][2:].replace("-", "_"), said)
        where = f"{path}, {place}" if place else str(path)
        raise type(problem)(f"{where}: {said}") from None


def _settings(study: Study, entry: LearnerEntry) -> LearnerSettings:
    from cad_edge_training.methods import default_method

    backbone = entry.backbone or study.backbone
    method = entry.method or study.method or default_method(backbone)
    common = study.options if entry.method in (None, study.method) else {}
    return LearnerSettings(
        baseline=entry.baseline,
        one_step=entry.one_step,
        method=method,
        backbone=backbone,
        size=entry.size or study.size,
        options=common | entry.options,
    )


def _check(learner: LearnerSettings) -> None:
    """Refuse what the method or the backbone does not have, and what does not fit together."""
    from cad_edge_export.fusions import fusion_of
    from cad_edge_training.learning import learns_steps, uses_depth
    from cad_edge_training.train import TrainingPlan, read_config

    method, baseline = learner.method, learner.baseline
    config = read_config(TrainingPlan(method, learner.backbone, learner.size, learner.options, 0))
    fusion_of(method)
    if baseline is not None and learner.one_step:
        raise OptionError(f"one_step goes without baseline {baseline}; leave one of them out")
    if learner.one_step and not learns_steps(method):
        raise OptionError(
            f"one_step: {method} learns every task on its own; give baseline joint for one model"
        )
    if baseline not in (None, "separate") and uses_depth(method, config):
        raise OptionError(
            f"{baseline} pools images alone, and {method} looks at depth; give options with which "
            "images are enough"
        )
