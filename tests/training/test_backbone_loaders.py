"""Backbones are found by the files below `loaders`; one list feeds help and error."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cad_edge.errors import OptionError
from cad_edge_training.backbones import backbone_names, load_backbone
from cad_edge_training.backbones.loader import FOLDER, loader_in
from cad_edge_training.commands import train

GOOD = """from cad_edge_training.backbones.loader import BackboneLoader

LOADER = BackboneLoader(print, {})
"""


def test_embedded_ones_come_first():
    assert backbone_names() == [
        "efficientnet-lite0",
        "llava-small",
        "clip:ID",
        "dinov2:ID",
        "efficientnet:ID",
        "llava:ID",
        "sd:ID",
    ]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_every_file_holds_a_loader(path):
    loader_in(path)


def test_help_and_error_have_every_name():
    help_text = " ".join(CliRunner().invoke(train, ["--help"]).output.split())
    with pytest.raises(OptionError) as caught:
        load_backbone("resnet18")
    for name in backbone_names():
        assert name in help_text and name in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", ":", "clip", "clip:", "llava-small:x", "efficientnet_lite0", "../loader"]
)
def test_other_names_are_refused(name):
    with pytest.raises(OptionError, match=r"is unknown; take efficientnet-lite0, llava-small"):
        load_backbone(name)


def test_the_names_in_the_help_are_listed_without_torch():
    probe = (
        "import sys; sys.modules['torch'] = None\n"
        "from cad_edge_training.backbones import backbone_names\n"
        "from cad_edge_training.commands import train\n"
        "print(*backbone_names(), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == backbone_names()


def test_a_file_without_a_loader_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("LOADER = print\n")
    with pytest.raises(OptionError, match=r"mine\.py holds no LOADER"):
        backbone_names(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.format("False").replace(", False", ""), "missing 1 required positional argument"),
        ("LOADER = (", "was never closed"),
        ("import no_such_module_anywhere\n", "No module named 'no_such_module_anywhere'"),
        (GOOD.format("'no'"), "LOADER needs a function to load by, and True or False"),
        (GOOD.format("True").replace("print", "3"), "LOADER needs a function to load by"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(OptionError) as caught:
        backbone_names(tmp_path)
    assert f"{tmp_path / 'mine.py'}" in str(caught.value) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_name_are_named(tmp_path):
    (tmp_path / "mine_a.py").write_text(GOOD.format(False))
    (tmp_path / "mine-a.py").write_text(GOOD.format(False))
    with pytest.raises(OptionError, match=r"mine-a\.py and .*mine_a\.py are two backbones of one"):
        backbone_names(tmp_path)


def test_a_new_file_is_listed(tmp_path):
    (tmp_path / "mine_a.py").write_text(GOOD.format(True))
    assert backbone_names(tmp_path) == ["mine-a:ID"]
