"""What a method is asked to learn where a study takes the place of `cad-edge train`."""

from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.instruments.command_runner import quiet
from cad_edge_training.backbones import Backbone
from cad_edge_training.folds import draw_folds
from cad_edge_training.learned import Images, LearningRequest


def request_of(
    task: StreamTask,
    images: Images,
    groups: tuple[str, ...] | None,
    backbone: Backbone,
    rate: float,
    seed: int,
    keep_outliers: bool = False,
) -> LearningRequest:
    """Ask to learn ``images`` (n, height, width, 3) uint8 as the good parts of ``task``."""
    return LearningRequest(
        task=task.name,
        images=images,
        backbone=backbone,
        folds=draw_folds(len(images), rate, seed, groups),
        seed=seed,
        progress=quiet,
        rate=rate,
        defective=images[:0],
        earlier=(),
        workspace=task.path,
        groups=groups,
        keep_outliers=keep_outliers,
    )
