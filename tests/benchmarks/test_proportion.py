"""Clopper-Pearson intervals against closed forms, a table and the identity that defines them."""

import math
from fractions import Fraction

import pytest

from cad_edge_benchmarks.instruments.proportion import Count, clopper_pearson


def test_nothing_of_162():
    """The upper bound has a closed form: (1 - p)^162 = 0.025."""
    low, high = clopper_pearson(0, 162)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 162), abs=1e-10)
    assert high == pytest.approx(0.0225, abs=5e-5)


def test_five_of_fifty():
    """As any table of exact limits has it."""
    assert clopper_pearson(5, 50) == pytest.approx((0.0333, 0.2181), abs=5e-5)


@pytest.mark.parametrize("total", [1, 2, 50])
def test_all_of_them(total):
    """The lower bound has a closed form: p^n = 0.025."""
    low, high = clopper_pearson(total, total)
    assert low == pytest.approx(0.025 ** (1 / total), abs=1e-10)
    assert high == 1.0


def test_one_of_two():
    """P(X >= 1) = 1 - (1 - p)^2 = 0.025 below, P(X <= 1) = 1 - p^2 = 0.025 above."""
    low = 1 - math.sqrt(0.975)
    assert clopper_pearson(1, 2) == pytest.approx((low, math.sqrt(0.975)), abs=1e-10)


def tail(total, counts, share):
    """Probability of ``counts`` hits, exactly."""
    share = Fraction(share)
    return float(sum(math.comb(total, n) * share**n * (1 - share) ** (total - n) for n in counts))


@pytest.mark.parametrize(("hits", "total"), [(1, 9), (5, 50), (12, 31), (49, 50), (3, 162)])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_each_tail_at_its_bound_has_half_of_what_confidence_leaves(hits, total, confidence):
    low, high = clopper_pearson(hits, total, confidence)
    half = (1 - confidence) / 2
    assert tail(total, range(hits, total + 1), low) == pytest.approx(half, abs=1e-9)
    assert tail(total, range(hits + 1), high) == pytest.approx(half, abs=1e-9)


def test_many_images_are_those_of_scipy():
    from scipy.stats import beta

    expected = (beta.ppf(0.025, 480, 9521), beta.ppf(0.975, 481, 9520))
    assert clopper_pearson(480, 10_000) == pytest.approx(expected, abs=1e-9)


def test_counts():
    assert Count(3, 4) + Count(1, 2) == Count(4, 6)
    assert str(Count(3, 4)) == "3 of 4"
    assert Count(3, 4).share == 0.75
    assert Count(0, 162).interval == clopper_pearson(0, 162)
    assert Count(0, 0).share is None and Count(0, 0).interval is None


@pytest.mark.parametrize("total", [1, 3, 7, 49, 1000])
def test_a_share_gives_its_count_again(total):
    for hits in range(total + 1):
        assert Count.of(hits / total, total) == Count(hits, total)
    assert Count.of(None, total) == Count(0, 0)
