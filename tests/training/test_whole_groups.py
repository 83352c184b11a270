"""Folds and held-out parts of groups: none is divided, and they are as even as groups allow."""

from collections import Counter

import numpy as np
import pytest

from cad_edge.errors import DatasetError
from cad_edge_training.division import KEPT, divide
from cad_edge_training.folds import FOLDS, draw_folds
from cad_edge_training.whole_groups import WholeGroups

WINDOWS = (1, 4, 4, 5, 6, 6, 7, 7)
"""Images of the groups of an open category: 40 windows of 8 photographs."""


def named(*sizes: int) -> tuple[str, ...]:
    """Groups of so many images, in an order that does not follow them."""
    names = [f"photo {number}" for number, size in enumerate(sizes) for _ in range(size)]
    return tuple(names[place] for place in np.random.default_rng(1).permutation(len(names)))


def of(groups: tuple[str, ...], images: np.ndarray) -> set[str]:
    return {groups[image] for image in images}


@pytest.mark.parametrize("seed", range(5))
def test_no_fold_divides_a_group(seed):
    groups = named(*WINDOWS)
    folds = draw_folds(40, 0.05, seed, groups)
    assert (folds.scheme, folds.count, folds.groups) == ("cross", FOLDS, 8)
    held = []
    for learned, out in folds.splits():
        assert not of(groups, learned) & of(groups, out)
        assert len(learned) + len(out) == 40
        held.extend(out)
    assert sorted(held) == list(range(40)) == folds.learned().tolist()


@pytest.mark.parametrize("sizes", [WINDOWS, (9,) * 9 + (10,) * 4, (1,) * 17, (3, 3, 2, 2, 2)])
def test_folds_hold_about_as_many_images_each(sizes):
    counts = Counter(draw_folds(sum(sizes), 0.05, 0, named(*sizes)).members.tolist()).values()
    assert len(counts) == FOLDS and max(counts) - min(counts) <= max(sizes)
    assert max(counts) <= max(1.3 * sum(sizes) / FOLDS, max(sizes))


@pytest.mark.parametrize("known", [2, 3, 4])
def test_fewer_groups_than_folds_leave_one_group_out_each(known):
    groups = named(*[5] * known)
    folds = draw_folds(5 * known, 0.05, 0, groups)
    assert (folds.count, folds.groups) == (known, known)
    assert sorted(name for _, out in folds.splits() for name in of(groups, out)) == sorted(
        set(groups)
    )


def test_folds_of_groups_depend_on_seed_and_names_alone():
    groups = named(*[4] * 10)
    first, again, other = (draw_folds(40, 0.05, seed, groups).members for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_without_groups_folds_are_drawn_as_before():
    """What a seed gave before there were groups; an artifact learned again must be the same."""
    folds = draw_folds(12, 0.05, 3)
    assert folds.members.tolist() == [4, 0, 2, 0, 1, 4, 2, 1, 1, 3, 3, 0]
    assert (folds.scheme, folds.count, folds.groups) == ("cross", 5, None)
    division = divide(20, 0.2, 3, "red")
    assert division.held_out.tolist() == [8, 12, 16, 18] and division.groups is None


@pytest.mark.parametrize(
    ("known", "rate", "scheme"),
    [(499, 0.01, "cross"), (500, 0.01, "split"), (500, 0.005, "cross")],
)
def test_a_split_takes_as_many_groups_as_it_would_take_images(known, rate, scheme):
    groups = named(*(1 + number % 4 for number in range(known)))
    folds = draw_folds(len(groups), rate, 0, groups)
    assert folds.scheme == scheme
    if scheme == "cross":
        assert folds.groups == known
        return
    ((learned, held),) = folds.splits()
    assert not of(groups, learned) & of(groups, held)
    assert len(of(groups, held)) == folds.groups >= 100
    assert abs(len(held) / len(groups) - 0.2) < 0.02
    assert folds.learned().tolist() == learned.tolist()


def test_one_group_cannot_be_held_out_and_learned_from():
    for draw in (
        lambda: draw_folds(9, 0.1, 0, ("a",) * 9),
        lambda: divide(9, 0.1, 0, "red", ("a",) * 9),
    ):
        with pytest.raises(DatasetError, match="all 9 images of good parts are of one group"):
            draw()


def test_a_group_of_nearly_all_images_is_refused():
    with pytest.raises(DatasetError, match=r"all but 2 are of one group, .* at least 3 images"):
        draw_folds(20, 0.1, 0, named(18, 2))
    assert draw_folds(20, 0.1, 0, named(17, 3)).count == 2


def test_groups_are_those_of_the_images():
    with pytest.raises(ValueError, match="3 groups are named for 5 images"):
        draw_folds(5, 0.1, 0, ("a", "b", "b"))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("sizes", "rate", "fewest"),
    [
        (WINDOWS, 0.05, 1),
        ((5,) * 20, 0.2, 4),
        ((5,) * 20, 0.1, 9),  # what the rate needs
        ((5,) * 20, 0.05, 1),  # which would leave less than half
        ((90, 10), 0.2, 1),
        ((2, 2), 0.2, 1),
    ],
)
def test_division_holds_whole_groups_out(seed, sizes, rate, fewest):
    groups = named(*sizes)
    found = divide(sum(sizes), rate, seed, "red", groups)
    assert not of(groups, found.learned) & of(groups, found.held_out)
    assert found.groups == len(of(groups, found.held_out)) >= fewest
    assert 2 * len(found.learned) >= sum(sizes) and 1 <= len(found.held_out) <= KEPT
    assert found.learned.tolist() == sorted(set(found.learned))
    assert found.held_out.tolist() == sorted(set(found.held_out))


def test_division_keeps_about_a_fifth_of_the_images():
    for seed in range(10):
        found = divide(40, 0.05, seed, "red", named(*WINDOWS))
        assert abs(len(found.held_out) - 8) <= 3
        assert len(found.held_out) + len(found.learned) == 40


def test_of_large_groups_as_many_images_of_each_are_kept():
    groups = named(*[9] * 50)
    found = divide(450, 0.05, 0, "red", groups)
    assert (found.groups, len(found.held_out)) == (19, KEPT)
    kept = Counter(groups[image] for image in found.held_out)
    assert set(kept.values()) == {1, 2}
    assert len(found.learned) == 450 - 19 * 9


def test_one_large_group_is_held_out_and_not_learned_from():
    found = divide(100, 0.2, 0, "red", named(50, 50))
    assert (found.groups, len(found.held_out), len(found.learned)) == (1, KEPT, 50)


def test_groups_are_numbered_in_the_order_of_their_names():
    found = WholeGroups.of(("b", "a", "b"), 3)
    assert (found.members.tolist(), found.sizes.tolist()) == ([1, 0, 1], [1, 2])
