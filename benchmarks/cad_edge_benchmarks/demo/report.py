"""The report: one HTML file that needs nothing beside it, neither files nor a network."""

from collections.abc import Mapping
from dataclasses import dataclass

from cad_edge.calibration import standardise
from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.demo.examples import (
    MOST_MISTAKES,
    chosen,
    mistaken,
    refused,
    rendered,
    typical,
    words,
)
from cad_edge_benchmarks.demo.inspections import Inspected, Inspections, Maps
from cad_edge_benchmarks.demo.results import (
    BundleBytes,
    ProductResult,
    Speed,
    products_of,
    routing,
    speed_of,
    strangers_of,
)
from cad_edge_benchmarks.demo.sections import (
    bundle_section,
    certificate_section,
    milliseconds,
    origin_section,
    routing_section,
    speed_section,
    verdicts_section,
)
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.instruments.probe import Probe
from cad_edge_benchmarks.reporting import verdict_sentences
from cad_edge_benchmarks.reporting.drawing import colour_bar, roc_figure, score_figure
from cad_edge_benchmarks.reporting.html_page import STYLE, escape, page, style_sheet
from cad_edge_benchmarks.reporting.tables import figure, percent, percents


@dataclass(frozen=True)
class Story:
    """Everything that the report tells."""

    inspections: Inspections
    maps: Maps
    manifest: Manifest
    sizes: BundleBytes
    probe: Probe
    seed: int
    machine: Mapping[str, object]
    versions: Mapping[str, str]
    steps: Mapping[str, float]
    """Seconds of each step of the demo."""

    commands: tuple[str, ...]
    """Command lines that give the same again."""

    @property
    def products(self) -> list[ProductResult]:
        """Results of the learned products."""
        return products_of(self.inspections)

    @property
    def speed(self) -> Speed:
        """Seconds per frame."""
        return speed_of(self.inspections)


SECTIONS = {
    "verdicts": "Defects found, good parts rejected",
    "products": "Each product",
    "routing": "Which product is it?",
    "speed": "Time and memory on this machine",
    "bundle": "What a product costs",
    "certificates": "Does the device answer as training did?",
    "origin": "Made with",
    "repeat": "Do it again",
}
"""Headings of the report by the address of their section."""


def headline(story: Story) -> str:
    """Say the result in one sentence."""
    return verdict_sentences.headline(_evaluations(story), "window")


def beside(story: Story) -> str:
    """Say what stands beside the headline."""
    stranger = routing(story.inspections)[-1]
    return (
        f"{verdict_sentences.beside(_evaluations(story), 'window')} Of a product never learned, "
        f"{stranger.right} windows were refused. A frame takes {milliseconds(story.speed.median)}."
    )


def _evaluations(story: Story) -> list[TaskEvaluation]:
    return [product.evaluation for product in story.products]


def render(story: Story) -> str:
    """Write the whole page."""
    bodies = {
        "verdicts": verdicts_section(story.products, story.manifest),
        "products": _products(story),
        "routing": routing_section(routing(story.inspections)) + _stranger(story),
        "speed": speed_section(story.speed, story.probe, story.inspections),
        "bundle": bundle_section(story.sizes, story.manifest),
        "certificates": certificate_section(story.manifest),
        "origin": origin_section(story.seed, story.machine, story.versions, story.steps),
        "repeat": _repeat(story),
    }
    contents = "".join(f'<a href="#{key}">{escape(name)}</a>' for key, name in SECTIONS.items())
    sections = "".join(
        f'<section id="{key}"><h2>{escape(SECTIONS[key])}</h2>{body}</section>'
        for key, body in bodies.items()
    )
    return page(
        "cad-edge demo",
        style_sheet(STYLE),
        f'<header><h1>cad-edge demo</h1><p class="headline">{escape(headline(story))}</p>'
        f"<p>{escape(beside(story))}</p>{_introduction(story)}<nav>{contents}</nav></header>{sections}",
    )


def _introduction(story: Story) -> str:
    names = [product.name for product in story.products]
    images = next(iter(story.manifest.tasks.values())).provenance.images
    return (
        f"<p>Photographs of {escape(', '.join(names[:-1]))} and {escape(names[-1])} stand for "
        "the products of a line. They were cut into windows that share no pixel, and the products "
        f"were learned one after another from good windows only ({images} each). The device then "
        "saw the windows that were kept back: each once as it is, and once with a defect drawn "
        "into it: a piece of another surface pasted in, a scratch or a blot. It ran in a process "
        "in which the training framework torch cannot be imported.</p>"
    )


def _products(story: Story) -> str:
    legend = (
        '<p class="legend">Colours of the heat maps:</p><div class="scale">'
        f"{colour_bar()}<div><span>like good parts</span><span>a defect begins</span>"
        "<span>far above</span></div></div>"
        '<p class="legend"><span class="key truth"></span> dashed: where a defect was drawn '
        '<span class="key found"></span> solid: what the device marked. The examples are the '
        "windows with the middle score of their kind, not the finest. "
        "<strong>p</strong> is the share of good windows that would score as high: a small p "
        "means a defect.</p>"
    )
    return legend + "".join(_product(story, product) for product in story.products)


def _product(story: Story, product: ProductResult) -> str:
    entry = story.manifest.tasks[product.name]
    measured = product.evaluation
    at = (product.false_rejects.share or 0.0, product.found.share or 0.0)
    groups = [("good", "good", _finite(product, None))]
    groups += [
        (words(kind), "defective", _finite(product, kind)) for kind in product.found_by_kind()
    ]
    threshold = standardise(entry.calibration.scores, entry.decision.threshold)
    return (
        f'<article class="product" id="{escape(product.name)}"><h3>{escape(product.name)}</h3>'
        f"<p>{_counts(product)}</p><div class='figures'><figure>"
        f"{roc_figure(product.roc(), at, measured.image_auroc)}<figcaption>ROC curve: what each "
        "possible threshold would find and reject. The area under it is 1.000 where good and "
        "defective never mix, and 0.5 for guessing (dashed). The dot is the threshold in "
        "force.</figcaption></figure>"
        f"<figure>{score_figure(groups, threshold)}<figcaption>Every test window, by its score "
        "(further right is more unlike good parts; distances are compressed by their root)."
        f"{_localised(product)}</figcaption></figure></div>"
        f"{rendered(chosen(product), story.inspections, story.maps, story.manifest)}"
        f"{_shown(story, 'Judged wrongly', mistaken(product), 'open')}"
        f"{_shown(story, 'Defective, but refused as an unknown product', refused(product), '')}"
        "</article>"
    )


def _finite(product: ProductResult, kind: str | None) -> list[float]:
    return [
        frame.calibrated_score
        for frame in product.frames
        if frame.defect == kind
        and frame.task == product.name
        and frame.calibrated_score is not None
    ]


def _localised(product: ProductResult) -> str:
    measured = product.evaluation
    if measured.pixel_auroc is None:
        return ""
    return (
        " Counted pixel by pixel, the heat maps rank defective above good ones with an area "
        f"(AUROC) of {figure(measured.pixel_auroc)}."
    )


def _counts(product: ProductResult) -> str:
    kinds = ", ".join(f"{words(kind)} {count}" for kind, count in product.found_by_kind().items())
    perfect, interval = product.evaluation.found_perfectly, product.false_rejects.interval
    within = "" if interval is None else f" (95 % interval {percents(interval)})"
    could = f" A perfect threshold would find {perfect}." if perfect.total else ""
    return escape(
        f"{product.found} defects found ({kinds}); {product.false_rejects} good windows rejected"
        f"{within}.{could}"
    )


def _shown(story: Story, title: str, frames: list[Inspected], state: str) -> str:
    """Put some of ``frames`` under a title that folds, ``open`` or not."""
    if not frames:
        return f'<p class="none">{title}: none.</p>'
    shown = frames[:MOST_MISTAKES]
    more = f", {len(shown)} of them shown" if len(shown) < len(frames) else ""
    drawn = rendered(shown, story.inspections, story.maps, story.manifest)
    return f"<details {state}><summary>{title}: {len(frames)}{more}</summary>{drawn}</details>"


def _stranger(story: Story) -> str:
    example = typical(strangers_of(story.inspections))
    if example is None:
        return ""
    return rendered([example], story.inspections, story.maps, story.manifest)


def _repeat(story: Story) -> str:
    commands = "\n".join(story.commands)
    rate = next(iter(story.manifest.tasks.values())).decision.false_reject_rate
    return (
        "<p>The same seed gives the same windows and defects. The first command does everything; "
        f"the others are its steps, as you would type them for your own images.</p><pre>"
        f"{escape(commands)}</pre><p>With a folder of your own images: put images "
        "of good parts into <code>NAME/train/good</code>, list the folders in a stream file like "
        f"<code>stream.yaml</code> with the share of good parts that may be rejected (here "
        f"{percent(rate)}), and run the same commands.</p>"
    )
