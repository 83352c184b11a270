"""The processes of one training, as torchrun or accelerate starts them; one where nobody did.

The first of them leads: it alone writes and prints. All need to see the same files.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cad_edge.errors import OptionError, ProcessError

if TYPE_CHECKING:
    from accelerate import Accelerator

LONGEST_WAIT = timedelta(days=1)
"""For another process, which may learn a whole task or count up routing statistics meanwhile."""


@dataclass(frozen=True)
class Processes:
    """Which of several processes this is."""

    number: int = 0
    of: int = 1

    @property
    def leads(self) -> bool:
        """Whether this one writes and prints."""
        return self.number == 0

    def wait(self) -> None:
        """Wait until all of them have come this far; raise ProcessError if one has ended."""
        if self.of == 1:
            return
        import torch

        with together():
            torch.distributed.barrier()

    def end(self) -> None:
        """Part from the others; nothing can be shared afterwards."""
        if self.of == 1:
            return
        import torch

        torch.distributed.destroy_process_group()


def started_processes() -> Processes:
    """Meet the other processes, if a launcher has started several.

    Raises
    ------
    OptionError
        There are several, and accelerate is not installed or does not join them.
    """
    if _launched() == 1:
        return Processes()
    accelerator = new_accelerator()
    return Processes(accelerator.process_index, accelerator.num_processes)


def _launched() -> int:
    """How many processes a launcher has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def new_accelerator() -> "Accelerator":
    """Find the device of this process, and the other processes.

    Raises
    ------
    OptionError
        accelerate is not installed, or does not join the processes that were started.
    """
    import torch

    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
    except ImportError:
        raise OptionError(
            "this training needs accelerate; install it with `pip install accelerate` "
            "(extra `train`)"
        ) from None
    several = _launched() > 1
    accelerator = Accelerator(
        # Of its own accord accelerate joins processes on a GPU alone.
        cpu=several and not torch.accelerator.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
    )
    # Each of several that know nothing of each other would learn and write the same.
    if several and accelerator.num_processes != _launched():
        raise OptionError(
            f"{_launched()} processes were started, and accelerate joins "
            f"{accelerator.num_processes} of them; set ACCELERATE_USE_CPU=true, or start one"
        )
    return accelerator


@contextmanager
def together() -> Iterator[None]:
    """Do what all processes do at once; raise ProcessError where one has ended."""
    try:
        yield
    except RuntimeError as problem:
        from torch import distributed

        # NCCL has an error of its own; gloo says its name alone.
        if not isinstance(problem, distributed.DistError) and "gloo" not in str(problem):
            raise
        raise ProcessError(
            "another process of this training has ended; see what it said, and start all of them "
            "again: learning goes on at the last step that was kept"
        ) from problem
