"""A family as it was learned: its artifacts, its generations, and test images that it never met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cad_edge.errors import OptionError
from cad_edge.store.artifact import LearnedTask, list_artifacts, read_artifact, with_sharing_tasks
from cad_edge_studies.cl_anomaly_comparison.evaluation_images import Scores, Shown, scores_of, show
from cad_edge_studies.cl_anomaly_comparison.task_sequence import tasks_of

if TYPE_CHECKING:
    from cad_edge_training.backbones import Backbone
    from cad_edge_training.methods.cl_anomaly.model import CLAnomaly


@dataclass(frozen=True)
class LearnedFamily:
    """Tasks in the order in which they were learned."""

    backbone: "Backbone"
    folders: tuple[Path, ...]
    """Of their artifacts."""
    tests: Mapping[str, Shown]
    """By task, in that order."""

    @property
    def names(self) -> tuple[str, ...]:
        """Tasks in order."""
        return tuple(self.tests)

    def generation(self, count: int) -> list[LearnedTask]:
        """First ``count`` tasks as if no other had been learned."""
        return with_sharing_tasks([read_artifact(folder) for folder in self.folders[:count]])

    def models(self, count: int) -> dict[str, "CLAnomaly"]:
        """Return torch's reference models of the first ``count`` tasks, by task."""
        from cad_edge_training.methods.cl_anomaly.config import Config
        from cad_edge_training.methods.cl_anomaly.learn import build_model

        return {
            task.artifact.task: build_model(
                self.backbone,
                Config.model_validate(task.artifact.hyperparameters),
                task.model_tensors(),
            )
            for task in self.generation(count)
        }


def read_family(artifacts: Path, data: Path) -> LearnedFamily:
    """Read what was learned, and the test images that were dealt to it.

    Raises
    ------
    OptionError
        There are no artifacts, or they were learned from other images or on another base model.
    """
    from cad_edge_training.backbones import load_backbone

    folders = tuple(list_artifacts(artifacts))
    if not folders:
        raise OptionError(
            f"{artifacts} holds no artifacts; run `make result-cl_anomaly_comparison` first"
        )
    learned = [read_artifact(folder).artifact for folder in folders]
    backbone = load_backbone(learned[0].backbone.id)
    if backbone.identity != learned[0].backbone:
        raise OptionError(
            f"{artifacts} was learned on other weights of {backbone.identity.id} than those that "
            "are here; run `make result-cl_anomaly_comparison` anew, with another --work or "
            "without what it has kept"
        )
    # The seed of learning is that of the deal.
    dealt = tasks_of(data, [one.task for one in learned], learned[0].provenance.seed)
    tests = {}
    for one in learned:
        product = dealt[one.task].images()
        if len(product.train) != one.provenance.images:
            raise OptionError(
                f"{one.task} was learned from {one.provenance.images} good parts and "
                f"{len(product.train)} are dealt to it, so that test images may be among them; "
                "give artifacts that `make result-cl_anomaly_comparison` left"
            )
        tests[one.task] = show(backbone, product.test)
    return LearnedFamily(backbone, folders, tests)


def scores_by(models: Mapping[str, "CLAnomaly"], chosen: Sequence[str], shown: Shown) -> Scores:
    """Scores (k,) float32 of test images, each by the model of the task that is chosen for it."""
    found = np.empty(len(chosen), np.float32)
    for name in set(chosen):
        rows = [row for row, task in enumerate(chosen) if task == name]
        found[rows] = scores_of(models[name], shown.tokens[rows])
    return found
