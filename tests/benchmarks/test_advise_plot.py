"""Names in the plot: none hides another name or a point."""

from itertools import combinations

from cad_edge_benchmarks.advise.labels import place

FRAME = (0.0, 0.0, 800.0, 400.0)


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_names_of_close_points_keep_apart():
    points = [(100.0 + 12 * at, 200.0 - 9 * at) for at in range(5)]
    labels = place([(x, y, "160px, one-memory") for x, y in points], points, FRAME)
    assert not any(overlap(one.box, other.box) for one, other in combinations(labels, 2))
    for label in labels:
        left, top, right, bottom = label.box
        assert not any(left < x < right and top < y < bottom for x, y in points)


def test_a_name_at_the_right_edge_stands_to_the_left_of_its_point():
    (label,) = place([(780.0, 50.0, "320px")], [(780.0, 50.0)], FRAME)
    assert label.box[2] < 780.0


def test_a_name_that_fits_nowhere_is_drawn_all_the_same():
    (label,) = place([(5.0, 50.0, "wide" * 50)], [(5.0, 50.0)], (0, 0, 100.0, 400))
    assert label.text == "wide" * 50


def test_a_name_does_not_run_into_the_numbers_beside_and_below_the_plot():
    points = [(140.0, 50.0), (160.0, 50.0)]
    labels = place(
        [(x, y, "128px, one-memory") for x, y in points], points, (76.0, 0.0, 800.0, 70.0)
    )
    assert min(label.box[0] for label in labels) >= 76
    assert max(label.box[3] for label in labels) <= 70
