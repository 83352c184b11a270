"""Progress where one line per run is enough."""


def quiet(doing: str, done: int, total: int) -> None:
    """Show nothing."""
