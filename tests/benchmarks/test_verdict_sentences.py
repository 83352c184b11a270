"""The sentences that a line engineer reads first."""

from dataclasses import replace

from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation, summarise
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_benchmarks.reporting.verdict_sentences import beside, headline, stated
from tests.benchmarks.judged_outcomes import TEN, outcomes


def judged(good, bad, threshold, rate=0.1) -> TaskEvaluation:
    return summarise(outcomes(good, bad, threshold), PixelScores(), 0, rate)


CAREFUL = judged(TEN, [5.0, 8.5, 9.5, 11.0, 20.0], 10.0)


def test_the_headline_says_what_a_line_buys():
    assert headline([CAREFUL]) == (
        "Finds 2 of 5 defects (40.0 %) at a stated false-reject rate of 10 %; rejects 0 of 10 good "
        "parts (0.0 %, 95 % interval 0.0 to 30.8 %)."
    )
    both = [CAREFUL, judged([0.0, 1.0], [2.0], 0.5, rate=0.025)]
    assert headline(both, "window", "replay") == (
        "replay finds 3 of 6 defects (50.0 %) at stated false-reject rates of 2.5 to 10 %; rejects "
        "1 of 12 good windows (8.3 %, 95 % interval 0.2 to 38.5 %)."
    )


def test_what_was_not_shown_is_said():
    assert headline([judged(TEN, [], 8.0)]).startswith(
        "Was shown no defects at a stated false-reject rate of 10 %; rejects 1 of 10 good parts"
    )
    assert headline([judged([], [9.0], 8.0)]).endswith("; was shown no good parts.")


def test_the_loss_is_named_and_its_cause():
    could = "With perfect thresholds at that rate the same scores would find"
    assert beside([CAREFUL]) == (
        f"{could} 4 of 5 (80.0 %): 40.0 % of the defects are lost by calibration. Called "
        "unknown_product: 0.0 % of the good parts, 0.0 % of the defective parts."
    )
    assert f"{could} 4 of 5: calibration loses none." in beside(
        [judged(TEN, [5.0, 8.5, 9.5, 11.0, 20.0], 8.0)]
    )
    assert f"{could} 4 of 5 (80.0 %), fewer than were found: somewhere more good parts" in beside(
        [judged(TEN, [5.0, 8.5, 9.5, 11.0, 20.0], 4.0)]
    )


def test_what_is_undefined_is_left_out():
    nothing = replace(judged([], [9.0], 8.0), unknown_normal=None, unknown_defective=None)
    assert beside([nothing]) == ""
    assert stated([CAREFUL]) == "a stated false-reject rate of 10 %"
