"""Published splits: the right classes in the right steps, found in datasets as they are published.

The lists are those of METHODS 0.3, written out a second time in `protocol_datasets`.
"""

import pytest

from cad_edge.errors import DatasetError, OptionError
from cad_edge_benchmarks.protocol.plan import with_views
from cad_edge_benchmarks.protocol.splits import SPLITS, cut, named_split
from cad_edge_benchmarks.protocol.task_sequence import draw_orders, ordered
from tests.benchmarks.protocol_datasets import (
    EYECANDIES,
    MVTEC,
    MVTEC3D,
    VISA,
    found,
    write_eyecandies,
    write_mvtec,
    write_mvtec3d,
    write_visa,
)

LISTS = {
    "mvtec": MVTEC.split(),
    "visa": VISA.split(),
    "mvtec3d": MVTEC3D.split(),
    "eyecandies": EYECANDIES.split(),
}


def names(steps):
    return [[task.name for task in step] for step in steps]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    return {
        "mvtec": write_mvtec(folder / "mvtec", LISTS["mvtec"]),
        "visa": write_visa(folder / "visa", LISTS["visa"]),
        "mvtec3d": write_mvtec3d(folder / "mvtec3d", LISTS["mvtec3d"]),
        "eyecandies": write_eyecandies(folder / "eyecandies", LISTS["eyecandies"]),
    }


@pytest.mark.parametrize(
    ("name", "sizes", "first", "last"),
    [
        ("mvtec/14-1", [14, 1], "bottle", ["zipper"]),
        ("mvtec/10-5", [10, 5], "bottle", ["tile", "toothbrush", "transistor", "wood", "zipper"]),
        ("mvtec/3x5", [3] * 5, "bottle", ["transistor", "wood", "zipper"]),
        ("mvtec/10-1x5", [10, 1, 1, 1, 1, 1], "bottle", ["zipper"]),
        ("mvtec/1x15", [1] * 15, "bottle", ["zipper"]),
        ("visa/11-1", [11, 1], "candle", ["pipe_fryum"]),
        ("visa/8-4", [8, 4], "candle", ["pcb2", "pcb3", "pcb4", "pipe_fryum"]),
        ("visa/8-1x4", [8, 1, 1, 1, 1], "candle", ["pipe_fryum"]),
        ("visa/1x12", [1] * 12, "candle", ["pipe_fryum"]),
        ("mvtec3d/10-0", [10], "bagel", LISTS["mvtec3d"]),
        ("mvtec3d/9-1", [9, 1], "bagel", ["tire"]),
        ("mvtec3d/6-4", [6, 4], "bagel", ["peach", "potato", "rope", "tire"]),
        ("mvtec3d/6-1x4", [6, 1, 1, 1, 1], "bagel", ["tire"]),
        ("eyecandies/10-0", [10], "CandyCane", LISTS["eyecandies"]),
        ("eyecandies/9-1", [9, 1], "CandyCane", ["PeppermintCandy"]),
        ("eyecandies/6-4", [6, 4], "CandyCane", LISTS["eyecandies"][6:]),
        ("eyecandies/6-1x4", [6, 1, 1, 1, 1], "CandyCane", ["PeppermintCandy"]),
    ],
)
def test_a_split_takes_the_classes_in_alphabetical_order(name, sizes, first, last):
    steps = named_split(name).steps
    assert [len(step) for step in steps] == sizes
    assert (steps[0][0], list(steps[-1])) == (first, last)
    assert [one for step in steps for one in step] == sorted(LISTS[name.partition("/")[0]])


def test_the_single_class_stream_has_its_own_order():
    order = " ".join(step[0] for step in named_split("mvtec/single-class").steps)
    assert order.startswith("zipper hazelnut leather cable metal_nut wood transistor tile screw ")
    assert order.endswith(" carpet bottle capsule toothbrush pill grid")
    assert sorted(order.split()) == LISTS["mvtec"]


def test_steps_that_do_not_add_up_are_a_slip():
    with pytest.raises(ValueError, match="do not add up"):
        cut(("a", "b"), (1, 2))


@pytest.mark.parametrize("name", [name for name in SPLITS if "/" in name])
def test_every_class_is_found_and_can_be_read(name, roots, tmp_path):
    sequence = found(name, [roots[name.partition("/")[0]]])
    assert names(sequence.steps) == [list(step) for step in named_split(name).steps]
    for task in with_views(sequence, tmp_path, ()).tasks:
        product = task.images()
        assert len(product.train) == 5
        assert [item.anomalous for item in product.test] == [False, True]
        assert product.test[1].mask is not None
        depths = [*product.train_depth, *(item.depth for item in product.test if item.depth)]
        assert len(depths) == (7 if name.startswith(("mvtec3d/", "eyecandies/")) else 0)


@pytest.mark.parametrize("swapped", [False, True])
def test_cross_dataset_is_two_steps_whichever_root_comes_first(roots, swapped):
    both = [roots["visa"], roots["mvtec"]] if swapped else [roots["mvtec"], roots["visa"]]
    sequence = found("cross-dataset", both, false_reject_rate=0.01)
    assert names(sequence.steps) == [LISTS["mvtec"], LISTS["visa"]]
    assert sequence.false_reject_rate == 0.01
    assert names(ordered(sequence, "reversed")) == [LISTS["visa"], LISTS["mvtec"]]


def test_classes_move_and_sizes_stay(roots):
    sequence = found("mvtec/10-5", [roots["mvtec"]])
    backwards = names(ordered(sequence, "reversed"))
    assert [len(step) for step in backwards] == [10, 5]
    assert backwards[1] == ["grid", "carpet", "capsule", "cable", "bottle"]
    shuffled = names(ordered(sequence, "shuffled-1"))
    assert sorted(shuffled[0] + shuffled[1]) == LISTS["mvtec"]
    assert shuffled == names(ordered(sequence, "shuffled-1")) != names(sequence.steps)


def test_orders_are_different_and_counted(roots):
    sequence = found("cross-dataset", [roots["mvtec"], roots["visa"]])
    first, second = draw_orders(sequence, 2)
    assert (first, names(ordered(sequence, second))) == ("given", [LISTS["visa"], LISTS["mvtec"]])
    with pytest.raises(OptionError, match="have only 2 orders"):
        draw_orders(sequence, 3)


def test_missing_classes_are_all_named(tmp_path):
    present = [name for name in LISTS["mvtec"] if name not in ("pill", "wood")]
    write_mvtec(tmp_path, present)
    with pytest.raises(DatasetError, match=r"lacks pill, wood of the MVTec AD classes that mvtec/"):
        found("mvtec/14-1", [tmp_path])


def test_an_unknown_protocol_is_answered_with_all():
    with pytest.raises(OptionError, match=r"mvtec/11-4 is neither .*mvtec/10-1x5, .*cross"):
        found("mvtec/11-4", [])


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("mvtec/14-1", [], "needs 1 --data"),
        ("cross-dataset", ["mvtec"], "needs 2 --data"),
        ("cross-dataset", ["mvtec", "mvtec"], "0 of .* hold split_csv"),
        ("visa/8-4", ["mvtec"], "lacks candle"),
    ],
)
def test_wrong_roots_are_refused(roots, name, given, words):
    with pytest.raises(DatasetError, match=words):
        found(name, [roots[one] for one in given])
