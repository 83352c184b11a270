"""What every refusal of the command line has in common."""

from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from cad_edge.cli import main


def run(*arguments: object) -> Result:
    """Call the command line with arguments of any kind."""
    return CliRunner().invoke(main, [str(one) for one in arguments])


def sentence(*arguments: object) -> str:
    """Return the one sentence with which a call is refused; a traceback or a second line fails."""
    done = run(*arguments)
    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.output
    assert done.stderr.splitlines()[-1] == errors[0], done.output
    return errors[0]


def content(folder: Path) -> Mapping[str, bytes | None]:
    """Bytes of everything below a folder, to see that a refusal left it as it was."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }
