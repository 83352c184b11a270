"""Which method suits a product: a rule on held-out evidence, without a constant that was tuned.

1. A method that says of a product that it does not suit it is left out, unless all do.
2. Of the others the one that finds most synthetic defects leads, and with it those whose distance
   to it is within the standard error of that difference.
3. Of these the one with the highest AUROC leads, and with it those within the error of that.
4. Of these the method that was named first is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cad_edge_benchmarks.advise.accuracy import Scores, spread
from cad_edge_benchmarks.advise.method_evidence import MethodEvidence


class Choice(NamedTuple):
    """A method for a product."""

    method: str
    reason: str
    """One sentence."""


class _Figure(NamedTuple):
    """A figure that methods are compared by."""

    name: str
    value: Callable[[MethodEvidence], float]
    draws: Callable[[MethodEvidence], Scores]


FIGURES = (
    _Figure("defects found", lambda one: one.mean_found, lambda one: one.found_draws),
    _Figure("AUROC", lambda one: one.mean_auroc, lambda one: one.auroc_draws),
)


def choose(evidence: Mapping[str, MethodEvidence]) -> Choice:
    """Choose a method for a product.

    Parameters
    ----------
    evidence
        By the name of the method, the one that ties go to first; at least one.
    """
    left = [name for name, one in evidence.items() if _suits(one)]
    out = [name for name in evidence if name not in left]
    if not left:
        first = next(iter(evidence))
        return Choice(first, f"no method says that it suits the product, so {first} is taken")
    aside = "".join(f"; {_statement(name, evidence[name])}" for name in out)
    if len(left) == 1:
        return Choice(left[0], f"{left[0]} is the one that is left{aside}")
    rivals = left
    for figure in FIGURES:
        tied = _tied(figure, rivals, evidence)
        if len(tied) == 1:
            return Choice(tied[0], f"{_lead(figure, tied[0], rivals, evidence)}{aside}")
        rivals = tied
    taken = rivals[0]
    others = " and ".join(rivals[1:])
    said = f"{taken} comes first, and {others} is within the standard error of it in both figures"
    return Choice(taken, f"{said}{aside}")


def _suits(evidence: MethodEvidence) -> bool:
    return evidence.suitability is None or evidence.suitability.suits


def _statement(name: str, evidence: MethodEvidence) -> str:
    said = evidence.suitability
    assert said is not None, "a method is left out by its own statement"
    return f"{name} is left out: {said.sentence} ({said.value:.2f}, at least {said.limit:g})"


def _tied(
    figure: _Figure, names: Sequence[str], evidence: Mapping[str, MethodEvidence]
) -> list[str]:
    """Those that are not behind the best by more than the standard error of the difference."""
    best = max(names, key=lambda name: figure.value(evidence[name]))
    return [name for name in names if _gap(figure, best, name, evidence).is_small]


class _Gap(NamedTuple):
    value: float
    error: float

    @property
    def is_small(self) -> bool:
        return self.value <= self.error


def _gap(figure: _Figure, best: str, other: str, evidence: Mapping[str, MethodEvidence]) -> _Gap:
    first, second = evidence[best], evidence[other]
    return _Gap(
        figure.value(first) - figure.value(second),
        spread(figure.draws(first) - figure.draws(second)),
    )


def _lead(
    figure: _Figure,
    taken: str,
    rivals: Sequence[str],
    evidence: Mapping[str, MethodEvidence],
) -> str:
    """Say by how much a method is ahead of the next one."""
    others = [name for name in rivals if name != taken]
    second = max(others, key=lambda name: figure.value(evidence[name]))
    gap = _gap(figure, taken, second, evidence)
    return (
        f"{taken} has the higher {figure.name}, {figure.value(evidence[taken]):.3f} against "
        f"{figure.value(evidence[second]):.3f} of {second} (difference {gap.value:+.3f} ± "
        f"{gap.error:.3f})"
    )
