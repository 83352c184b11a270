"""Headings of the figures in every table: those of the verdicts first, those of scores after."""

VERDICT_COLUMNS = {
    "detection_rate": "defects found",
    "false_reject_rate": "false rejects",
    "false_reject_interval": "95 % interval",
    "detection_rate_perfect": "perfect threshold",
    "lost_by_calibration": "lost",
    "found_of_perfect": "found of perfect",
    "unknown_normal": "good unknown",
    "unknown_defective": "defective unknown",
}
"""Figures of `Verdicts` that tables show."""

SCORE_COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1": "image F1",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
    "routing_normal": "routed good",
    "routing_defective": "routed defective",
}
"""Figures of ranking, localisation and routing in `TaskEvaluation`."""

HEADINGS = VERDICT_COLUMNS | SCORE_COLUMNS

ALL_PARTS = "all parts"
"""Row of `pooled` figures, in which every image counts the same."""

MEAN = "mean"
"""Row of means over tasks."""

VERDICT_NOTE = (
    "Perfect threshold: the defects that the same scores would find with each product's threshold "
    "placed by the test's own good parts at the stated rate; lost: those less the ones found. "
    "Found of perfect is the ratio of the two, in the row of means that of the means. "
    "Interval: two-sided 95 % Clopper-Pearson."
)
"""What stands below a table of verdicts."""
