"""Sections of the report as HTML, in words of the people who run a line."""

from collections.abc import Mapping, Sequence

from cad_edge.calibration import Decision
from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.demo.inspections import Inspections
from cad_edge_benchmarks.demo.results import BundleBytes, ProductResult, RoutingRow, Speed
from cad_edge_benchmarks.instruments.probe import Probe
from cad_edge_benchmarks.instruments.proportion import Count
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN, Verdicts, pooled
from cad_edge_benchmarks.reporting.html_page import Cell, table
from cad_edge_benchmarks.reporting.tables import UNDEFINED, percent, percents

STAGE_WORDS = {
    "prepare": "check and resize the frame",
    "select": "first layers of the network, recognise the product",
    "detect": "remaining layers, compare with good parts",
    "post": "threshold, p-value, boxes",
}


def megabytes(count: float) -> str:
    """Write bytes with a unit that suits them."""
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"


def milliseconds(seconds: float) -> str:
    """Write a short time."""
    return f"{1000 * seconds:.2f} ms" if seconds < 0.001 else f"{1000 * seconds:.1f} ms"


def routing_section(rows: Sequence[RoutingRow]) -> str:
    """Which product the frames were recognised as."""
    columns = list(rows[0].counts)
    head = ["what was shown", "", *(_column(name) for name in columns), "right"]
    laid = []
    for row in rows:
        truth = UNKNOWN if row.product not in columns else row.product
        cells: list[str | Cell] = [row.product, row.condition]
        for name in columns:
            count = row.counts[name]
            style = "hit" if name == truth else "miss" if count else "none"
            cells.append(Cell(str(count), style))
        laid.append([*cells, str(row.right)])
    return (
        "<p>The device is not told which product it sees. It recognises the product in every frame "
        "by itself, and refuses a frame that looks like nothing it has learned. Each row is what "
        "was shown, each column what it was recognised as.</p>" + table(head, laid)
    )


def _column(name: str) -> str:
    return "unknown product" if name == UNKNOWN else name


def verdicts_section(products: Sequence[ProductResult], manifest: Manifest) -> str:
    """Defects found and good parts rejected, beside the stated rate and a perfect threshold."""
    rows = []
    for product in products:
        decision = manifest.tasks[product.name].decision
        enough = "yes" if decision.supported else "no, the rate is not promised"
        behind = f"{_behind(decision)} (needs {decision.images_needed})"
        stated = f"{100 * decision.false_reject_rate:g} %"
        rows.append([product.name, *_verdict_cells(product.evaluation), stated, behind, enough])
    if len(products) > 1:
        every = pooled(product.evaluation for product in products)
        rows.append(["all", *_verdict_cells(every), "", "", ""])
    head = ["product", "defects found", "with a perfect threshold", "good parts rejected"]
    head += ["95 % interval", "good called unknown", "defective called unknown", "stated rate"]
    head += ["held-out images behind it", "enough?"]
    return (
        "<p>The share of good parts that the line may reject by mistake is stated beforehand. "
        "The threshold that keeps it comes from good windows that the model had not seen; the "
        "windows of this test had no part in it. So few windows tell the true share roughly: the "
        "interval (Clopper-Pearson) misses it in one such test of twenty at most. A perfect "
        "threshold is placed by this test&#8217;s own good windows at the stated rate, which no "
        "device can do; what it finds beyond the defects found is lost by calibration.</p>"
        + table(head, rows)
    )


def _verdict_cells(figures: Verdicts) -> list[str]:
    interval = figures.false_reject_interval
    return [
        _counted(figures.found),
        _counted(figures.found_perfectly),
        _counted(figures.false_rejects),
        UNDEFINED if interval is None else _unbroken(percents(interval)),
        percent(figures.unknown_normal),
        percent(figures.unknown_defective),
    ]


def _counted(count: Count) -> str:
    if not count.total:
        return UNDEFINED
    return f"{_unbroken(str(count))} {_unbroken(f'({percent(count.share)})')}"


def _unbroken(text: str) -> str:
    """Keep a figure on one line of a narrow cell."""
    return text.replace(" ", "\u00a0")


def _behind(decision: Decision) -> str:
    """Count what a rate rests on."""
    if decision.groups is None:
        return str(decision.images)
    return f"{decision.images} in {decision.groups} groups"


def speed_section(speed: Speed, probe: Probe, inspections: Inspections) -> str:
    """Time of a frame and memory of the device process."""
    stages = [[STAGE_WORDS[name], milliseconds(seconds)] for name, seconds in speed.stages.items()]
    torch = "torch was loaded" if inspections.torch_loaded or probe.torch else "torch never loaded"
    facts = [
        ["a frame takes, in the middle (median)", milliseconds(speed.median)],
        ["nine frames in ten take at most (90th percentile)", milliseconds(speed.p90)],
        ["from starting the program to its first verdict", f"{probe.seconds:.2f} s"],
        ["memory in use (resident, RSS)", megabytes(probe.memory.rss)],
        ["memory that nobody shares (unique, USS)", megabytes(probe.memory.uss)],
        ["training framework on the device", torch],
    ]
    return (
        f"<p>Measured over {speed.frames} frames, one at a time, from the decoded picture to "
        "verdict, heat map and boxes. Other work on the machine makes it slower. The memory is "
        "that of a process of its own after one frame was judged for every product.</p>"
        f'<div class="columns">{table(["whole frame", ""], facts)}'
        f"{table(['stages of a frame', 'median'], stages)}</div>"
    )


def bundle_section(sizes: BundleBytes, manifest: Manifest) -> str:
    """Bytes on the disk and seconds of learning."""
    rows = []
    for name, entry in manifest.tasks.items():
        made = entry.provenance
        rows.append([name, megabytes(sizes.tasks[name]), f"{made.seconds:.0f} s", str(made.images)])
    rows.append(["shared by all", megabytes(sizes.shared), "", ""])
    rows.append(["the whole bundle", megabytes(sizes.total), "", ""])
    return (
        "<p>All products share one network. A further product costs what stands in its row, and "
        "nothing that is already on the device is changed or learned again.</p>"
        + table(["product", "on the disk", "learned in", "from good windows"], rows)
    )


def certificate_section(manifest: Manifest) -> str:
    """Proof that the exported engines answer as training did."""
    rows: list[list[str | Cell]] = []
    for name, entry in manifest.tasks.items():
        proof = entry.certificate
        shown = "" if proof.map_max is None else _fraction(proof.map_max)
        style = "hit" if proof.flips == 0 else "miss"
        rows.append(
            [
                name,
                f"{proof.witness_images} + {proof.adversarial_images}",
                _fraction(proof.score_max),
                shown,
                "" if proof.tolerance is None else _fraction(proof.tolerance),
                Cell(str(proof.flips), style),
                f"{proof.reference} / {proof.runtime}",
            ]
        )
    head = [
        "engine of",
        "images, real + hard",
        "score differs by at most",
        "heat map differs by at most",
    ]
    head += ["allowed", "verdicts that differ", "compared"]
    return (
        "<p>What the device runs is not what training ran: it was exported. Before a bundle may be "
        "used, both answer the same images: real ones, and hard ones such as black, white, noise "
        "and stripes. Differences are in percent of the range of scores. Over the allowed "
        "difference, or with one verdict that differs, the export fails.</p>" + table(head, rows)
    )


def _fraction(difference: float) -> str:
    """Write a difference far below one percent without an exponent."""
    return f"{100 * difference:.5f}".rstrip("0").removesuffix(".") + " %"


def origin_section(
    seed: int,
    machine: Mapping[str, object],
    versions: Mapping[str, str],
    steps: Mapping[str, float],
) -> str:
    """Machine, versions, seed and the time that the demo took."""
    memory = machine["memory_bytes"]
    facts = [
        ["processor", f"{machine['cpu']}, {machine['cores']} cores used"],
        ["memory", f"{float(str(memory)) / 1e9:.0f} GB"],
        ["system", f"{machine['system']}, Python {machine['python']}"],
        ["programs that wanted a core when the demo ended (load)", str(machine["load"])],
        ["seed of all random choices", str(seed)],
        *([f"version of {name}", number] for name, number in versions.items()),
    ]
    times = [[name, f"{seconds:.0f} s"] for name, seconds in steps.items()]
    times.append(["together", f"{sum(steps.values()):.0f} s"])
    return (
        f'<div class="columns">{table(["made on", ""], facts)}'
        f"{table(['step of this demo', 'took'], times)}</div>"
    )
