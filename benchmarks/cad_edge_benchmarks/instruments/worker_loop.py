"""A worker's side of the conversation: a line of JSON for every request, and one for its answer.

It is imported by programs in environments of their own and by what stands for a device, so it holds
to the standard library and loads little of it.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


def claim_output() -> TextIO:
    """Keep standard output for answers; what libraries print there goes to standard error."""
    kept = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return os.fdopen(kept, "w", encoding="utf-8")


def write_answer(answer: object, output: TextIO) -> None:
    """Write one line; ``output`` is from `claim_output`."""
    output.write(json.dumps(answer) + "\n")
    output.flush()


def answer_requests(handle: Callable[[Any], object], output: TextIO) -> None:
    """Answer every request by ``handle`` until standard input closes."""
    for line in sys.stdin:
        write_answer(handle(json.loads(line)), output)
