"""The report of the demo: sections and tables, in words of the people who run a line."""

from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.demo.products import LEGEND, cards, product_blocks, typical
from cad_edge_benchmarks.demo.results import DemoReport, routing, speed_of, unknown_frames
from cad_edge_benchmarks.instruments.proportion import Count
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN, pooled
from cad_edge_benchmarks.reporting import verdict_sentences
from cad_edge_benchmarks.reporting.document import (
    Block,
    Cell,
    Code,
    Document,
    Markup,
    Section,
    Table,
)
from cad_edge_benchmarks.reporting.pictures import LEVEL_LEGEND
from cad_edge_benchmarks.reporting.tables import UNDEFINED, figure, percent, percents

_STAGES = {
    "prepare": "check and resize the frame",
    "select": "first layers of the network, recognise the product",
    "detect": "remaining layers, compare with good parts",
    "post": "threshold, p-value, boxes",
}


def demo_document(report: DemoReport) -> Document:
    """Lay out the report; a terminal gets the sentences and the first table."""
    rest: dict[str, tuple[Block, ...]] = {
        "Each product": (LEGEND, *([Markup(LEVEL_LEGEND)] if report.maps.level else [])),
        **{
            one.name: product_blocks(one, report.inspections, report.maps, report.manifest)
            for one in report.products
        },
        "Which product is it?": _routing(report),
        "Time and memory on this machine": _speed(report),
        "What a product costs": _bundle(report),
        "Does the device answer as training did?": _certificates(report.manifest),
        "Made with": _origin(report),
        "Do it again": _repeat(report),
    }
    evaluations = [one.evaluation for one in report.products]
    return Document(
        "cad-edge demo",
        verdict_sentences.headline(evaluations, "window"),
        (beside(report), _introduction(report)),
        (
            Section("verdicts", "Defects found, good parts rejected", (_verdicts(report),)),
            *(
                Section(title.lower().rstrip("?").replace(" ", "-"), title, blocks, False)
                for title, blocks in rest.items()
            ),
        ),
    )


def beside(report: DemoReport) -> str:
    """Say what stands beside the headline."""
    evaluations = [one.evaluation for one in report.products]
    unknown = routing(report.inspections)[-1]
    return (
        f"{verdict_sentences.beside(evaluations, 'window')} Of a product never learned, "
        f"{unknown.right} windows were refused. A frame takes "
        f"{milliseconds(speed_of(report.inspections).median)}."
    )


def _introduction(report: DemoReport) -> str:
    *names, last = (product.name for product in report.products)
    images = next(iter(report.manifest.tasks.values())).provenance.images
    return (
        f"Photographs of {', '.join(names)} and {last} stand for the products of a line. They were "
        "cut into windows that share no pixel, and the products were learned one after another "
        f"from good windows only ({images} each). The device then saw the windows that were kept "
        "back: each once as it is, and once with a defect drawn into it: a piece of another "
        "surface pasted in, a scratch or a blot. It ran in a process in which the training "
        "framework torch cannot be imported."
    )


def _verdicts(report: DemoReport) -> Table:
    results = {product.name: product.evaluation for product in report.products}
    rows = []
    for name, found in (results | {"all": pooled(results.values())}).items():
        interval = found.false_reject_interval
        row = [
            name,
            _counted(found.found),
            _counted(found.found_perfectly),
            _counted(found.false_rejects),
            UNDEFINED if interval is None else percents(interval),
        ]
        if name in results:
            decision = report.manifest.tasks[name].decision
            enough = "" if decision.supported else ", too few"
            row += [figure(results[name].image_auroc), figure(results[name].pixel_auroc)]
            row.append(f"{decision.images} (needs {decision.images_needed}{enough})")
        else:
            row += ["", "", ""]
        rows.append(row)
    head = (
        *("product", "defects found", "perfect threshold", "good rejected", "95 % interval"),
        *("image AUROC", "pixel AUROC", "held-out images"),
    )
    note = (
        "The share of good parts that the line may reject by mistake is stated beforehand. The "
        "threshold that keeps it comes from held-out images, good windows that the model had not "
        "seen; the windows of this test had no part in it. So few windows tell the true share "
        "roughly: the interval (Clopper-Pearson) misses it in one such test of twenty at most. A "
        "perfect threshold is placed by this test's own good windows at the stated rate, which no "
        "device can do; what it finds beyond the defects found is lost by calibration."
    )
    return Table(head, rows, note)


def _counted(count: Count) -> str:
    return f"{count} ({percent(count.share)})" if count.total else UNDEFINED


def _routing(report: DemoReport) -> tuple[Block, ...]:
    found = routing(report.inspections)
    columns = list(found[0].counts)
    rows: list[list[str | Cell]] = []
    for row in found:
        truth = UNKNOWN if row.product not in columns else row.product
        cells: list[str | Cell] = [f"{row.product}, {row.condition}"]
        for name in columns:
            style = "hit" if name == truth else "miss" if row.counts[name] else "none"
            cells.append(Cell(str(row.counts[name]), style))
        rows.append([*cells, str(row.right)])
    names = ["unknown product" if name == UNKNOWN else name for name in columns]
    sentences = (
        "The device is not told which product it sees. It recognises the product in every frame by "
        "itself, and refuses a frame that looks like nothing it has learned. Each row is what was "
        "shown, each column what it was recognised as."
    )
    example = typical(unknown_frames(report.inspections))
    shown = [] if example is None else [example]
    drawn = cards(shown, report.inspections, report.maps, report.manifest)
    return sentences, Table(("what was shown", *names, "right"), rows), drawn


def megabytes(count: float) -> str:
    """Write bytes with a unit that suits them."""
    return f"{count / 1000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def milliseconds(seconds: float) -> str:
    """Write a short time."""
    return f"{1000 * seconds:.2f} ms" if seconds < 0.001 else f"{1000 * seconds:.1f} ms"


def _speed(report: DemoReport) -> tuple[Block, ...]:
    speed, probe = speed_of(report.inspections), report.probe
    loaded = report.inspections.torch_loaded or probe.torch
    facts = [
        ["a frame takes, in the middle (median)", milliseconds(speed.median)],
        ["nine frames in ten take at most (90th percentile)", milliseconds(speed.p90)],
        *([_STAGES[name], milliseconds(seconds)] for name, seconds in speed.stages.items()),
        ["from starting the program to its first verdict", f"{probe.seconds:.2f} s"],
        ["memory in use (resident, RSS)", megabytes(probe.memory.rss)],
        ["memory that nobody shares (unique, USS)", megabytes(probe.memory.uss)],
        ["training framework on the device", f"torch {'was' if loaded else 'never'} loaded"],
    ]
    return (
        f"Measured over {speed.frames} frames, one at a time, from the decoded picture to verdict, "
        "heat map and boxes; stages by their median. Other work on the machine makes it slower. "
        "The memory is that of a process of its own after one frame was judged for every product.",
        Table(("", ""), facts),
    )


def _bundle(report: DemoReport) -> tuple[Block, ...]:
    rows = [
        [name, megabytes(report.task_bytes[name]), f"{made.seconds:.0f} s", str(made.images)]
        for name, entry in report.manifest.tasks.items()
        for made in (entry.provenance,)
    ]
    shared = report.bundle_bytes - sum(report.task_bytes.values())
    rows.append(["shared by all", megabytes(shared), "", ""])
    rows.append(["the whole bundle", megabytes(report.bundle_bytes), "", ""])
    return (
        "All products share one network. A further product costs what stands in its row, and "
        "nothing that is already on the device is changed or learned again.",
        Table(("product", "on the disk", "learned in", "from good windows"), rows),
    )


def _certificates(manifest: Manifest) -> tuple[Block, ...]:
    rows: list[list[str | Cell]] = []
    for name, entry in manifest.tasks.items():
        proof = entry.certificate
        differences = (proof.score_max, proof.map_max, proof.tolerance)
        rows.append(
            [
                f"{name}: {proof.reference} / {proof.runtime}",
                f"{proof.witness_images} + {proof.adversarial_images}",
                *("" if one is None else _fraction(one) for one in differences),
                Cell(str(proof.flips), "miss" if proof.flips else "hit"),
            ]
        )
    head = ("engine, compared", "images, real + hard", "score differs by", "map differs by")
    return (
        "What the device runs is not what training ran: it was exported. Before a bundle may be "
        "used, both answer the same images: real ones, and hard ones such as black, white, noise "
        "and stripes. Differences are in percent of the range of scores. Over the allowed "
        "difference, or with one verdict that differs, the export fails.",
        Table((*head, "allowed", "verdicts that differ"), rows),
    )


def _fraction(difference: float) -> str:
    """Write a difference far below one percent without an exponent."""
    return f"{100 * difference:.5f}".rstrip("0").removesuffix(".") + " %"


def _origin(report: DemoReport) -> tuple[Block, ...]:
    machine = report.machine
    facts = [
        ["processor", f"{machine['cpu']}, {machine['cores']} cores used"],
        ["memory", f"{float(str(machine['memory_bytes'])) / 1e9:.0f} GB"],
        ["system", f"{machine['system']}, Python {machine['python']}"],
        ["programs that wanted a core when the demo ended (load)", str(machine["load"])],
        ["seed of all random choices", str(report.seed)],
        *([f"version of {name}", number] for name, number in report.versions.items()),
        *([f"time to {name}", f"{seconds:.0f} s"] for name, seconds in report.steps.items()),
        ["time of the whole demo", f"{sum(report.steps.values()):.0f} s"],
    ]
    return (Table(("", ""), facts, is_list=True),)


def _repeat(report: DemoReport) -> tuple[Block, ...]:
    rate = next(iter(report.manifest.tasks.values())).decision.false_reject_rate
    return (
        "The same seed gives the same windows and defects. The first command does everything; the "
        "others are its steps, as you would type them for your own images.",
        Code("\n".join(report.commands)),
        "With a folder of your own images: put images of good parts into NAME/train/good, list the "
        "folders in a stream file like stream.yaml with the share of good parts that may be "
        f"rejected (here {percent(rate)}), and run the same commands.",
    )
