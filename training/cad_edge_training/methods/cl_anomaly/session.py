"""What a training runs in: one process, or several that each have a device."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cad_edge.errors import OptionError
from cad_edge_training.learned import Progress
from cad_edge_training.methods.cl_anomaly.anchors import AnchorSum
from cad_edge_training.methods.cl_anomaly.checkpoints import Checkpoints
from cad_edge_training.methods.cl_anomaly.key_experts import KeyScores
from cad_edge_training.processes import new_accelerator, together

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class ProcessShare:
    """Which of several processes this is."""

    number: int = 0
    of: int = 1


@dataclass(frozen=True)
class Session:
    """One training."""

    accelerator: "Accelerator"
    seeds: tuple[int, ...]
    """Everything random depends on these and on the number of a step."""
    checkpoints: Checkpoints
    progress: Progress

    @property
    def share(self) -> ProcessShare:
        """Which of the processes this is."""
        return ProcessShare(self.accelerator.process_index, self.accelerator.num_processes)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum of a tensor over all processes, where it is; with one process the tensor itself."""
        if self.share.of == 1:
            return tensor
        with together():
            found: Tensor = self.accelerator.reduce(
                tensor.to(self.accelerator.device), reduction="sum"
            )
            return found.to(tensor.device)

    def join_anchors(self, found: AnchorSum) -> AnchorSum:
        """Sum over the images of all processes."""
        count = self.sum(torch.tensor(found.count))
        return AnchorSum(self.sum(found.total), int(count))

    def join_scores(self, found: KeyScores) -> KeyScores:
        """Sum over the tokens of all processes."""
        total = KeyScores(*found.sums.shape)
        total.sums, total.tokens = self.sum(found.sums), self.sum(found.tokens)
        return total


def open_accelerator(batch: int) -> "Accelerator":
    """Find the device of this process.

    Parameters
    ----------
    batch
        Images of a step, all processes together.

    Raises
    ------
    OptionError
        accelerate is not installed, or a batch does not go round.
    """
    accelerator = new_accelerator()
    if batch < accelerator.num_processes:
        raise OptionError(
            f"a batch of {batch} does not go round {accelerator.num_processes} processes; raise "
            "batch, or start fewer"
        )
    return accelerator
