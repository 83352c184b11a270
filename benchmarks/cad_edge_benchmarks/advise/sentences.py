"""What the advice says in words."""

from cad_edge_benchmarks.advise.schema import Accuracy, Advice, Measured, ProductFacts
from cad_edge_benchmarks.reporting.tables import figure

FEW = 5
"""With fewer images of a class a bootstrap cannot see how far a figure may lie off."""

_MEGABYTE = 1e6


def headline(advice: Advice) -> str:
    """Name the setting to take, or the one that misses the budgets by least."""
    limits = " and ".join(f"{limit:g} {unit}" for unit, limit in advice.limits.items())
    if advice.taken is None:
        assert advice.nearest_name is not None
        misses = ", and ".join(
            f"{one.name} is {one.measured:.1f} {one.unit} against {one.limit:g} {one.unit} "
            f"({one.measured / one.limit:.2f} times)"
            for one in advice.nearest
            if not one.kept
        )
        return f"No setting keeps {limits}. The nearest is {quoted(advice.nearest_name)}: {misses}."
    kept = f", within {limits}" if limits else ""
    return f"Take {quoted(advice.taken)}: {costs(advice.setting(advice.taken))}{kept}."


def quoted(name: str) -> str:
    """Name a setting within a sentence."""
    return "the default settings" if name == "default" else f"“{name}”"


def costs(setting: Measured) -> str:
    """Say what a setting takes."""
    parts = [f"{setting.p90:.1f} ms a frame (90th percentile)"]
    if setting.peak_memory is not None:
        parts.append(f"{setting.peak_memory / _MEGABYTE:.0f} MB")
    parts.append(f"{setting.task_bytes / 1000:.0f} kB a task")
    return ", ".join(parts)


def report(advice: Advice) -> list[str]:
    """Say how accurate it is on images that had no part in the choice, and where that falls short.

    Returns
    -------
    list of str
        Sentences.
    """
    said = []
    if advice.reported is not None and advice.taken is not None:
        pair = advice.reported
        total = pair.taken.routed_good.total + pair.taken.routed_defective.total
        line = (
            f"On the {total} test images that had no part in the choice: image AUROC "
            f"{accuracy(pair.taken)}, pixel AUROC {figure(pair.taken.pixel_auroc)}, "
            f"{routed(pair.taken)}"
        )
        if advice.taken != "default":
            line += (
                f"; the default has {accuracy(pair.default)}, pixel AUROC "
                f"{figure(pair.default.pixel_auroc)}, {routed(pair.default)} (difference "
                f"{pair.difference:+.3f} ± {pair.difference_error:.3f})"
            )
        said.append(f"{line}.")
    return [*said, *warnings(advice)]


def warnings(advice: Advice) -> list[str]:
    """Say what the figures cannot be trusted for."""
    found = []
    stand_ins = [one for one in advice.products if one.stand_in is not None]
    if stand_ins:
        named = ", ".join(f"{one.name} ({one.stand_in})" for one in stand_ins)
        found.append(
            f"Synthetic defects chose here, not real ones: {named}. Good images were held out and "
            "defects drawn on copies of them; how well real defects are found is not known. Add "
            "good and defective images under test/, two of each or more."
        )
    if few := [one.name for one in advice.products if _fewest(one) < FEW]:
        found.append(
            f"Fewer than {FEW} good or defective images are in a half of {', '.join(few)}; so few "
            "say little, and the standard errors are then too small."
        )
    return found


def _fewest(product: ProductFacts) -> int:
    halves = (product.choosing, product.reporting)
    return min(count for half in halves for count in (half.hits, half.total - half.hits))


def accuracy(found: Accuracy) -> str:
    """Write an AUROC with its standard error."""
    return f"{found.image_auroc:.3f} ± {found.error:.3f}"


def routed(found: Accuracy) -> str:
    """Say how many images were recognised as their own product."""
    good, defective = found.routed_good, found.routed_defective
    return (
        f"{good.hits} of {good.total} good and {defective.hits} of {defective.total} defective "
        "images recognised as their product"
    )


RULES = (
    "One half of the test images of every product chose, the other half reports; figures in the "
    "table are of the half that chose, so the best of them are hopeful. ± is one standard error, "
    "by a bootstrap over images; a figure of exactly 1 shows none, whatever it may hide.",
    "Settings that keep the budgets and whose AUROC lies within the standard error of the "
    "difference to the best of them (column to the best, bars in the plot) count as equal; of "
    "these the fastest is taken, and of about equally fast ones the smallest.",
    "Milliseconds are of a routed frame at the size of the input, without decoding and resizing; "
    "all settings took turns in one process. MB is the peak resident memory of a device process.",
)
"""How the figures came about."""
