"""Outcomes of one task's test images from their scores, for figures that are worked by hand."""

import math

from cad_edge_benchmarks.instruments.verdicts import Outcome

TEN = [float(value) for value in range(10)]


def outcomes(good, bad, threshold):
    """Judge scores of good and defective images of one task; None is refused as unknown."""
    judged = []
    for anomalous, scores in ((False, good), (True, bad)):
        for score in scores:
            if score is None:
                judged.append(Outcome(anomalous, False, "unknown_product", math.inf))
            else:
                verdict = "anomalous" if score > threshold else "normal"
                judged.append(Outcome(anomalous, True, verdict, score))
    return judged
