"""Targets and what became of them."""

from cad_edge_benchmarks.reporting.targets import Target, targets_table


def test_limits_count_as_reached():
    assert Target("auroc", "at least", 0.92, 0.92).reached is True
    assert Target("ratio", "at most", 1.4, 1.41).reached is False
    assert Target("ratio", "at most", 1.4, None).reached is None


def test_the_table_says_what_was_not_reached():
    table = targets_table(
        [Target("start", "at most", 1.5, 1.6, "s"), Target("x", "at least", 1, None)]
    )
    assert "NOT reached" in table.splitlines()[1]
    assert "at most 1.5 s" in table.splitlines()[1]
    assert "not measured" in table.splitlines()[2]
