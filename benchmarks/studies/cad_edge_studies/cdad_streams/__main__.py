"""What a stream of CDAD forgets beside what each new product gets.

    python -m cad_edge_studies.cdad_streams FOLDER... [--add FILE] [--out FILE] [--picture FILE]

``FOLDER`` is what `cad-edge protocol` made of a study file here. Runs of a learner in several
folders, and in an earlier result of other seeds (``--add``), count as one sample. Learners whose
names end in a number, as "energy 0.95" does, are points of a curve.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cad_edge_benchmarks.instruments.metrics import mean_defined
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.protocol.summary import spread
from cad_edge_benchmarks.reporting.plots import SERIES, plot, standalone
from cad_edge_benchmarks.reporting.tables import text_table, write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.open_category_study import RESULTS, Study, made_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULT = RESULTS / "cdad-streams.json"
PICTURE = REPOSITORY / "docs" / "images" / "cdad-trade.svg"
CDAD, FREE, PUBLISHED = "CDAD", "free updates", "iSVD as published"
ALONE, TOGETHER = "each product alone", "all products together"
"""Learners that targets are about."""
SINGLE = (CDAD, FREE, PUBLISHED, "projected gradients", "incremental SVD")
"""Points beside the curves."""
RIGHT = 0.6  # of the largest forgetting; beyond it a name stands to the left of its point
WHEN_LEARNED = ("when_learned", "later_when_learned")
WORST = "worst_old_false_reject_rate"
FIGURES = ("detection_rate", "false_reject_rate", "a_auroc", "fm", "pixel_auroc", "pixel_fm")

Rows = Mapping[str, Mapping[str, Any]]
"""By learner and figure, mean and deviation over runs."""


@click.command("cdad_streams", cls=Study)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--add", "earlier", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--picture", type=click.Path(path_type=Path), default=PICTURE, show_default=False)
def main(folders: tuple[Path, ...], earlier: Path | None, out: Path, picture: Path) -> None:
    """Lay the learners of FOLDERS beside each other."""
    before: dict[str, Any] = {} if earlier is None else json.loads(earlier.read_text("utf-8"))
    rows = together([before.get("learners", {}), *map(rows_of, folders)])
    targets = must_reach(rows)
    made = made_with() | ({"added_commit": before["commit"]} if before else {})
    record = {"learners": rows, "must_reach": [target.record() for target in targets]}
    write_result(out, {**made, **record})
    if curves := curves_of(rows):
        picture.write_text(standalone(draw(curves, points_of(rows))), "utf-8")
    click.echo(f"{table(rows)}\n\n{targets_table(targets)}")


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the report of a study; what a product gets when it is learned is A[i, i]."""
    learners = json.loads((folder / "protocol.json").read_text("utf-8"))["learners"]
    rows = {}
    for name, found in learners.items():
        new = [mean_defined(list(when_learned(run).values())) for run in found["runs"]]
        later = [mean_defined(list(when_learned(run).values())[1:]) for run in found["runs"]]
        rejected = [worst_rejected(run) for run in found["runs"]]
        rows[name] = {
            **{figure: found["summary"][figure] for figure in FIGURES},
            "when_learned": vars(spread(new)),
            "later_when_learned": vars(spread(later)),
            WORST: max((one for one in rejected if one is not None), default=None),
            "by_product": [when_learned(run) for run in found["runs"]],
        }
    return rows


def together(samples: Sequence[Rows]) -> dict[str, dict[str, Any]]:
    """Join learners of several folders; those of one name have all of their runs."""
    found: dict[str, dict[str, Any]] = {}
    for rows in samples:
        for name, row in rows.items():
            found[name] = _pooled_row(found[name], row) if name in found else dict(row)
    return found


def _pooled_row(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    rejected = (one[WORST], other[WORST])
    return {
        **{name: pooled(one[name], other[name]) for name in (*FIGURES, *WHEN_LEARNED)},
        WORST: max((rate for rate in rejected if rate is not None), default=None),
        "by_product": [*one["by_product"], *other["by_product"]],
    }


def pooled(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Mean and deviation of two samples that are one, from those of each."""
    samples = [sample for sample in (one, other) if sample["runs"]]
    runs = sum(sample["runs"] for sample in samples)
    if not samples:
        return dict(one)
    mean = sum(sample["runs"] * sample["mean"] for sample in samples) / runs
    squares = sum(
        (sample["runs"] - 1) * (sample["deviation"] or 0) ** 2
        + sample["runs"] * (sample["mean"] - mean) ** 2
        for sample in samples
    )
    return {
        "mean": mean,
        "deviation": (squares / (runs - 1)) ** 0.5 if runs > 1 else None,
        "runs": runs,
    }


def when_learned(run: Mapping[str, Any]) -> dict[str, float | None]:
    """Image AUROC of every product at its own step, in the order of the run."""
    matrix = run["continual"]["image_auroc"]["matrix"]
    steps = {name: number for number, names in enumerate(run["steps"]) for name in names}
    return {
        name: matrix[min(steps[name], len(matrix) - 1)][place]
        for place, name in enumerate(run["tasks"])
    }


def worst_rejected(run: Mapping[str, Any]) -> float | None:
    """Largest false-reject rate after the last step, of all products but the last one's."""
    final = run["results"][-1]["measurement"]["evaluations"]
    newest = set(run["steps"][-1])
    rates = [one["false_reject_rate"] for name, one in final.items() if name not in newest]
    return max((rate for rate in rates if rate is not None), default=None)


def must_reach(rows: Rows) -> list[Target]:
    """Limits of what is forgotten, and of what a new product loses beside a network of its own."""

    def mean(name: str, figure: str) -> float | None:
        found: float | None = rows[name][figure]["mean"] if name in rows else None
        return found

    def less(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else one - other

    own, published = mean(CDAD, "a_auroc"), mean(PUBLISHED, "a_auroc")
    deviation = (rows[CDAD]["a_auroc"]["deviation"] or 0.0) if CDAD in rows else 0.0
    lost = less(mean(ALONE, "when_learned"), mean(CDAD, "when_learned"))
    worst = rows[CDAD][WORST] if CDAD in rows else None
    return [
        Target("all products together, image AUROC", "at least", 0.92, mean(TOGETHER, "a_auroc")),
        Target("forgetting, image AUROC", "at most", 0.03, mean(CDAD, "fm")),
        Target("new products below learning them alone", "at most", 0.05, lost),
        Target("A-AUROC after the last product", "at least", 0.91, own),
        Target("above free updates", "at least", deviation, less(own, mean(FREE, "a_auroc"))),
        Target("above iSVD as printed", "at least", deviation, less(own, published)),
        Target("false rejects of an old product, worst", "at most", 0.10, worst),
    ]


def table(rows: Rows) -> str:
    """Mean and deviation of every learner."""
    head = ["", "found", "rejected", "A-AUROC", "FM", "pixel", "pixel FM", "when learned", "runs"]
    figures = (*FIGURES, "when_learned")
    return text_table(
        head,
        [
            [name, *(_shown(row[one]) for one in figures), str(row["a_auroc"]["runs"])]
            for name, row in rows.items()
        ],
    )


def _shown(figure: Mapping[str, Any]) -> str:
    if figure["mean"] is None:
        return "-"
    deviation = figure["deviation"]
    return f"{figure['mean']:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


Curves = Mapping[str, Sequence[tuple[str, float, float]]]
"""By what is varied: its value, forgetting, and image AUROC of later products when learned."""


def curves_of(rows: Rows) -> dict[str, list[tuple[str, float, float]]]:
    """Points of learners named after a value."""
    curves: dict[str, list[tuple[str, float, float]]] = {}
    for name, row in rows.items():
        varied, _, value = name.rpartition(" ")
        figures = row["fm"]["mean"], row["later_when_learned"]["mean"]
        if value.replace(".", "", 1).isdigit() and None not in figures:
            curves.setdefault(varied, []).append((value, *figures))
    return {name: sorted(points, key=lambda one: float(one[0])) for name, points in curves.items()}


def points_of(rows: Rows) -> list[tuple[str, float, float]]:
    """Forgetting, and image AUROC of later products when learned, of single learners."""
    found = [(name, rows[name]) for name in SINGLE if name in rows]
    return [
        (name, row["fm"]["mean"], row["later_when_learned"]["mean"])
        for name, row in found
        if row["fm"]["mean"] is not None
    ]


def draw(curves: Curves, singles: Sequence[tuple[str, float, float]] = ()) -> str:
    """Draw forgetting against what new products get; better is up and to the left."""

    def on(axes: "Axes") -> None:
        for (name, points), colour in zip(curves.items(), SERIES, strict=False):
            _, forgotten, learned = zip(*points, strict=True)
            axes.plot(forgotten, learned, marker="o", color=colour, label=name)
            for value, x, y in points:
                axes.annotate(
                    value, (x, y), xytext=(5, -13), textcoords="offset points", fontsize=9
                )
        colour = SERIES[len(curves) % len(SERIES)]
        for name, x, y in singles:
            axes.plot([x], [y], marker="s", linestyle="none", color=colour)
            # Above the point where there is room; values stand below the curve.
            right = x < RIGHT * max(one[1] for one in singles)
            axes.annotate(
                name,
                (x, y),
                xytext=(7 if right else -7, 6),
                ha="left" if right else "right",
                textcoords="offset points",
                fontsize=9,
            )
        axes.set(xlabel="forgetting (FM of image AUROC)", ylabel="new products, image AUROC")
        axes.legend(loc="lower right")

    shown = {**curves, "others": singles} if singles else curves
    said = "; ".join(f"{name}: {', '.join(map(str, points))}" for name, points in shown.items())
    return plot(on, (520, 380), f"Forgetting against the AUROC of new products. {said}")


if __name__ == "__main__":
    main()
