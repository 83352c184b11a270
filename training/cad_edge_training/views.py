"""Several views of a sample: who looks at them, and that all of a stream have as many."""

from cad_edge.data.stream import Stream
from cad_edge.errors import DatasetError, OptionError
from cad_edge_training.method import UsesViews
from cad_edge_training.methods import load_method, method_names


def views_of(stream: Stream, method: str) -> int:
    """How many views the samples of a stream have.

    Raises
    ------
    DatasetError
        Tasks differ.
    OptionError
        There are several and the method looks at one.
    """
    first = stream.tasks[0]
    for task in stream.tasks:
        if task.views != first.views:
            raise DatasetError(
                f"task {first.name} has views: {first.views} and {task.name} views: {task.views}, "
                "and one bundle has one number of views; give the stream file tasks of one number"
            )
    if first.views > 1 and not isinstance(load_method(method), UsesViews):
        able = [name for name in method_names() if isinstance(load_method(name), UsesViews)]
        raise OptionError(
            f"{method} looks at one image of each part, and task {first.name} has views: "
            f"{first.views}; take --method {' or '.join(able)}, or leave `views` out"
        )
    return first.views
