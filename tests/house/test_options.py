"""The options of CONTRIBUTING.md: one name has one meaning and one sentence in every command."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import click.testing
import pytest

import cad_edge_training.methods
from cad_edge.cli import COMMANDS, main
from cad_edge.data.dataset import Layout
from cad_edge.deprecated_options import deprecated
from cad_edge.errors import OptionError
from tests.house.refusals import run

ROOT = Path(__file__).resolve().parents[2]

SHARED = {
    "--backbone",
    "--budget-mb",
    "--budget-ms",
    "--depth",
    "--device",
    "--expires",
    "--false-reject-rate",
    "--max-pixels",
    "--method",
    "--out",
    "--seed",
    "--set",
    "--sign",
    "--size",
    "--stream",
    "--task",
    "--threads",
    "--trusted-key",
}
OWN = {
    "check": {"--strict"},
    "train": {"--keep-outliers"},
    "export": {
        "--bundle",
        "--calibration",
        "--explanations",
        "--layout",
        "--merge-shared",
        "--precision",
        "--selector",
        "--without-depth",
    },
    "detect": {"--heatmaps"},
    "explain": {"--conversation", "--max-tokens", "--question"},
    "tasks": {"--json"},
    "verify": {"--open"},
    "threshold": {"--frames", "--minimum-area"},
    "rollback": {"--allow-older", "--to"},
    "gc": {"--keep"},
    "benchmark": {"--against", "--images", "--scenario", "--seconds", "--streams", "--tasks"},
    "protocol": {"--baseline", "--compat", "--data", "--last-only", "--order", "--orders"},
    "advise": {"--axis"},
}
"""Options of one command alone. A new one is added here once nothing in `SHARED` means the same."""
ARGUMENTS = {
    "export": ["artifacts"],
    "detect": ["bundle", "paths"],
    "explain": ["bundle", "image"],
    "sign": ["bundle", "key"],
    **{
        name: ["bundle"]
        for name in ("tasks", "threshold", "verify", "rollback", "gc", "evaluate", "benchmark")
    },
}
OLD = {
    "check": {"--html", "--json"},
    "evaluate": {"--json"},
    "protocol": {"old_stream"},
    "advise": {"--data", "--work"},
}
"""Names that are in no help and still work."""
REPORTS = {"check", "evaluate", "benchmark", "advise"}


def command(name: str) -> click.Command:
    context = click.Context(main)
    try:
        found = main.get_command(context, name)
    except click.ClickException as problem:
        pytest.skip(problem.message)
    assert found is not None
    return found


def options(name: str) -> Iterator[click.Option]:
    """Options of a command that its help shows."""
    for option in command(name).params:
        if isinstance(option, click.Option) and not option.hidden:
            yield option


def sentence(option: click.Option) -> str:
    """Help of an option without its default, which is the command's own."""
    return re.sub(r"\s*\[default: [^]]*\]", "", option.help or "").rstrip(".")


def shape(option: click.Option) -> dict[str, object]:
    """What has to be the same wherever an option of this name is."""
    return {
        "sentence": sentence(option),
        "metavar": option.metavar,
        "type": option.type.to_info_dict(),
        "checked by": option.callback,
        "flag": option.is_flag,
    }


def shapes() -> dict[str, dict[str, dict[str, object]]]:
    """What an option is, by its name and the command that has it."""
    found: dict[str, dict[str, dict[str, object]]] = defaultdict(dict)
    for name in COMMANDS:
        for option in options(name):
            found[option.opts[0]][name] = shape(option)
    return found


def test_options_of_one_name_are_one_option():
    differing = []
    for option, places in shapes().items():
        groups = [set(places)]
        if option == "--out":  # files into a folder, or a report
            groups = [set(places) & REPORTS, set(places) - REPORTS]
        for group in groups:
            kinds = [places[name] for name in sorted(group)]
            differing += [f"{option} in {sorted(group)}" for one in kinds if one != kinds[0]]
    assert differing == []


@pytest.mark.parametrize("name", COMMANDS)
class TestCommand:
    def test_its_options_are_those_of_the_list(self, name):
        shown = {option.opts[0] for option in options(name)}
        assert shown - SHARED == OWN.get(name, set())

    def test_its_arguments_are_those_of_the_list(self, name):
        found = [
            one.name
            for one in command(name).params
            if isinstance(one, click.Argument) and one.expose_value
        ]
        assert found == ARGUMENTS.get(name, [])

    def test_every_option_says_what_it_is(self, name):
        assert command(name).help
        for option in options(name):
            assert option.help and len(option.help) > 10, option.opts
            assert not re.search(r"\bas for\b|without it\b", option.help, re.IGNORECASE), (
                option.opts
            )

    def test_old_names_are_those_of_the_list(self, name):
        hidden = {
            one.opts[0]
            for one in command(name).params
            if not one.expose_value and one.opts[0] != "--help"
        }
        assert hidden - SHARED == OLD.get(name, set())
        usage = " ".join(command(name).get_usage(click.Context(command(name))).split())
        assert "old" not in usage.lower()


def test_help_lists_what_the_code_knows():
    for name, marks in {
        "train": ("methods", "backbones", "layouts"),
        "export": ("backbones",),
        "detect": ("devices",),
        "explain": ("devices",),
        "evaluate": ("devices", "layouts"),
        "benchmark": ("devices",),
        "protocol": ("methods", "backbones", "layouts"),
        "advise": ("methods", "backbones", "layouts", "devices"),
    }.items():
        command(name)
        said = re.sub(r"-\s+", "-", " ".join(run(name, "--help").output.split()))
        assert "{" not in said
        for mark in marks:
            assert all(word in said for word in known(mark)), (name, mark)


def known(what: str) -> list[str]:
    """Names of the code itself."""
    if what == "layouts":
        return list(get_args(Layout))
    if what == "devices":
        from cad_edge_runtime.device import device_names

        return device_names()
    from cad_edge_training.backbones import backbone_names
    from cad_edge_training.methods import method_names

    return method_names() if what == "methods" else backbone_names()


def test_the_default_method_is_the_one_that_is_named():
    from cad_edge_training.methods import default_method

    (method,) = [option for option in options("train") if option.name == "method"]
    default = re.search(r"\[default: (\S+); with clip:ID and dinov2:ID, (\S+)\]", method.help or "")
    assert default is not None
    assert default.groups() == (default_method("efficientnet-lite0"), default_method("clip:ID"))
    assert default_method("dinov2:ID") == default_method("clip:ID")


def test_contributing_has_the_manner():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for option in SHARED:
        assert re.search(rf"`{option}[` ]", page), option


@click.command()
@click.option("--stream", required=True, type=click.Path(path_type=Path))
@deprecated("--data", "--stream")
@deprecated("STREAM", "--stream")
@deprecated("--page", "--stream", meant=lambda page: page.parent)
def show(stream: Path) -> None:
    click.echo(stream)


@pytest.mark.parametrize(
    ("words", "stream", "warned"),
    [
        (["--stream", "a"], "a", None),
        (["--data", "a"], "a", "Warning: --data is now --stream; write --stream a\n"),
        (["a"], "a", "Warning: STREAM is now --stream; write --stream a\n"),
        (["--page", "a/b"], "a", "Warning: --page is now --stream; write --stream a\n"),
        (["--data=a", "--stream=b"], "b", "Warning: --data is now --stream; write --stream a\n"),
    ],
)
def test_an_old_name_says_the_new_one(words, stream, warned):
    done = click.testing.CliRunner().invoke(show, words)
    assert (done.exit_code, done.stdout, done.stderr or None) == (0, f"{stream}\n", warned)


def test_an_old_name_is_in_no_help():
    shown = click.testing.CliRunner().invoke(show, ["--help"]).stdout
    assert "--data" not in shown and "old" not in shown and "STREAM" not in shown
    refused = click.testing.CliRunner().invoke(show, [])
    assert refused.exit_code == 2 and "Missing option '--stream'" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("check", "--stream", "no.yaml", "--json", "a.json"),
        ("check", "--stream", "no.yaml", "--html", "a.html"),
        ("evaluate", "bundle", "--stream", "no.yaml", "--json", "a.json"),
        ("protocol", "no.yaml", "--out", "out"),
        ("advise", "--data", "no.yaml"),
        ("advise", "--stream", "no.yaml", "--work", "work"),
    ],
)
def test_commands_take_their_old_names(words):
    command(words[0])
    done = run(*words)
    warned, *_, refused = done.stderr.splitlines()
    assert warned.startswith("Warning: ") and " is now --" in warned
    assert refused.startswith("Error: no.yaml cannot be read")


def test_a_file_that_cannot_be_listed_does_not_hide_the_rest_of_a_help_text(monkeypatch):
    def refuse():
        raise OptionError("a.py and a are two methods of one name")

    monkeypatch.setattr(cad_edge_training.methods, "method_names", refuse)
    done = run("train", "--help")
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert "(not listed: a.py and a are two methods of one name)" in said and "--seed" in said
