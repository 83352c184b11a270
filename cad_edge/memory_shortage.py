"""Too little memory, as the exceptions of libraries and of their import tell it."""

_SHORTAGES = (
    *("bad_alloc", "bad allocation", "allocate memory", "memory allocation", "allocateraw"),
    *("out of memory", "enough memory", "alloc_failed"),
    "failed to map segment",  # of a library; where that is not forbidden, it is memory that lacks
    "error return without exception set",  # of C code that got none and did not say so
)
"""Words of messages about memory, in small letters."""

_OTHERWISE = ("not permitted", "static tls block")
"""Words of messages that sound like it: a file system that forbids to run libraries, and the order
in which some of them want to be loaded."""

_QUOTED = "Original error was: "
"""How numpy begins the line of its advice that says what has happened."""

_LONGEST = 200  # characters of a line, to go into a sentence


def short_of_memory(problem: BaseException) -> bool:
    """Whether an exception of a library, or of its import, says that memory does not suffice.

    Examples
    --------
    >>> short_of_memory(ImportError("libtorch.so: failed to map segment from shared object"))
    True
    """
    text = str(problem).lower()
    if any(word in text for word in _OTHERWISE):
        return False
    return isinstance(problem, MemoryError) or any(word in text for word in _SHORTAGES)


def shortage_behind(problem: BaseException) -> str | None:
    """Return what says that memory did not suffice, where that is what an exception comes from.

    Libraries wrap what their import meets into pages of advice about something else.

    Returns
    -------
    str
        A line of the message, or the name of an exception that has none.
    """
    link: BaseException | None = problem
    while link is not None:
        if short_of_memory(link):
            lines = [line.removeprefix(_QUOTED) for line in str(link).splitlines()]
            telling = (line for line in reversed(lines) if short_of_memory(Exception(line)))
            return next(telling, type(link).__name__)[:_LONGEST]
        link = link.__cause__ or link.__context__
    return None
