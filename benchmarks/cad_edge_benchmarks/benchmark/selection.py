"""The selection alone: what a routed frame costs more than one whose task is given."""

from cad_edge.data.image import Frame
from cad_edge_runtime.chain import Values
from cad_edge_runtime.frames import image_batch, read_frame
from cad_edge_runtime.selection import Choice, select
from cad_edge_runtime.snapshot import DISTANCE, Snapshot


class Choosing:
    """The selector's own graphs and the choice, without the stages that an engine needs anyway.

    The runtime counts the trunk to the stage ``select`` because the selector asks for it first; the
    engine then finds it done. Here the values of shared stages are put in place beforehand.
    """

    def __init__(self, snapshot: Snapshot, frame: Frame) -> None:
        """Prepare one frame (h, w, 3) uint8 for a version that has a selector."""
        assert snapshot.selector is not None
        self._selector = snapshot.selector
        self._snapshot = snapshot
        values: Values = {
            self._selector.image: image_batch([read_frame(frame, None)], self._selector.recipe)
        }
        self._selector.run(values)
        engines = {
            name
            for task in snapshot.tasks.values()
            for step in task.chain.steps
            for name in step.names
        }
        # The selector fetches more outputs of a shared stage than an engine uses.
        own = [step for step in self._selector.steps if not engines.intersection(step.names)]
        dropped = {name for step in own for name in step.names}
        self._before = {name: value for name, value in values.items() if name not in dropped}

    def run(self, number: int) -> Choice:
        """Choose the product of the frame once."""
        del number  # every round is the same frame: the work depends on the tasks alone
        values = {**self._before}
        self._selector.run(values)
        distance = values[self._selector.results[DISTANCE]]
        return select(distance, self._snapshot.columns, self._snapshot.reaches)[0]
