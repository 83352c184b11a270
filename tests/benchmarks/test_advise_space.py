"""Settings: axes of a method, values that were asked for, options that are fixed."""

import pytest

pytest.importorskip("torch")

from cad_edge.errors import OptionError
from cad_edge_benchmarks.advise.recommendation import commands
from cad_edge_benchmarks.advise.search_space import Space
from cad_edge_benchmarks.advise.trials import LearningOptions

LITE0 = "efficientnet-lite0"


def space(*asked, device="cpu", **fixed):
    return Space("patch_memory", LITE0, device, fixed, asked)


def test_the_default_comes_first_and_changes_nothing():
    first, *others = space().first_round()
    assert (first.name, first.size, first.options, first.precision) == ("default", None, (), "fp32")
    assert all(len(one.changes) == 1 for one in others)
    assert len({(one.size, one.options, one.precision) for one in [first, *others]}) == 1 + len(
        others
    )


def test_values_are_put_together():
    found = space().setting(
        {"resolution": "320px", "layers": "blocks-7+10", "bank": "bank/2", "precision": "uint8"}
    )
    assert found.name == "320px, blocks-7+10, bank/2, uint8"
    assert (found.size, found.options, found.precision) == (320, ("memories=7+10x128",), "uint8")


@pytest.mark.parametrize(
    ("device", "precisions"),
    [("cpu", ("fp32", "uint8")), ("cuda", ("fp32", "fp16", "int8"))],
)
def test_precisions_are_those_of_the_device(device, precisions):
    (axis,) = space("precision", device=device).axes
    assert axis.values == precisions


def test_axes_and_values_can_be_asked_for():
    found = space("resolution=320px,160px", "layers=blocks-7+10")
    assert [(axis.name, axis.values) for axis in found.axes] == [
        ("resolution", ("224px", "160px", "320px")),
        ("layers", ("blocks-4+7+10", "blocks-7+10")),
    ]


def test_axes_that_would_change_a_fixed_option_are_left_out():
    found = space(memories="7x64", smoothing="2")
    assert [axis.name for axis in found.axes] == ["resolution", "precision"]
    assert found.setting({"precision": "uint8"}).options == ("memories=7x64", "smoothing=2")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["colour"], "--axis colour: there is no such axis; take one of resolution, layers"),
        (["bank=bank/3"], "--axis bank=bank/3: bank has no value 'bank/3'; it has bank, bank/4"),
        (["bank="], "--axis bank=: bank has no value ''"),
        (["bank", "bank=bank/2"], "--axis bank is given twice"),
    ],
)
def test_unknown_axes_and_values_are_refused(asked, said):
    with pytest.raises(OptionError, match="^" + said):
        space(*asked)


def test_commands_are_those_that_a_user_types():
    setting = space().setting({"resolution": "160px", "bank": "bank/2", "precision": "uint8"})
    train, export = commands(
        setting, LearningOptions("patch_memory", LITE0, 3, "auto", 2), "my line.json"
    )
    assert train == (
        "cad-edge train --stream 'my line.json' --out artifacts --method patch_memory --size 160 "
        "--set memories=7+10x128,4x128 --seed 3"
    )
    assert export == (
        "cad-edge export artifacts --bundle bundle --precision uint8 --calibration 'my line.json'"
    )
