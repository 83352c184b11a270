"""`cad-edge advise --stream FILE|DIR`: settings for the images and the machine at hand."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from cad_edge import options
from cad_edge.data.products import read_products
from cad_edge.data.stream import Stream
from cad_edge.deprecated_options import deprecated
from cad_edge.errors import OptionError
from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge.schema import canonical_json
from cad_edge.store.trust import ignoring_trusted_keys
from cad_edge_benchmarks.advise.method_comparison import ComparisonRequest, compare_methods
from cad_edge_benchmarks.advise.method_report import methods_document
from cad_edge_benchmarks.advise.pareto_front import Budgets
from cad_edge_benchmarks.advise.recommendation import recommend
from cad_edge_benchmarks.advise.report import advice_document
from cad_edge_benchmarks.advise.search import SearchRequest, sweep
from cad_edge_benchmarks.advise.search_space import Space
from cad_edge_benchmarks.advise.trials import LearningOptions
from cad_edge_benchmarks.instruments.budgets import check_memory_budget
from cad_edge_benchmarks.instruments.command_runner import BACKBONE
from cad_edge_benchmarks.reporting.document import text
from cad_edge_benchmarks.reporting.report_files import check_report, is_file, write_report
from cad_edge_runtime.cores import available_cores
from cad_edge_runtime.device import choose_device


@click.command("advise")
@options.stream
@deprecated("--data", "--stream")
@options.budget_ms
@options.budget_mb
@click.option(
    "--axis",
    "axes",
    cls=options.Option,
    multiple=True,
    metavar="NAME[=VALUE,...]",
    help="Try only this axis, and only these values of it; a wrong name is answered with all axes.",
)
@options.settings
@options.method(several=True)
@options.backbone(BACKBONE)
@options.out_report
@deprecated("--work", "--out")
@options.seed()
@options.threads
@options.device
def advise(
    stream: Path,
    budget_ms: float | None,
    budget_mb: float | None,
    axes: tuple[str, ...],
    settings: tuple[str, ...],
    methods: tuple[str, ...],
    backbone: str,
    out: Path | None,
    seed: int,
    threads: int | None,
    device: str,
) -> None:
    """Try settings of a method on your images and this machine, and recommend one.

    Each setting is learned, exported and measured. One half of the test images, the selection
    split, chooses; the other half reports the accuracy of the choice. No test image touches
    learning or thresholds.

    Settings beyond --budget-ms (90th percentile of a frame) or --budget-mb are not recommended. A
    folder as --out also keeps what was learned, and a call that was interrupted goes on there.

    With --method twice or more, methods are compared in place of settings, product by product, on
    held-out good parts with synthetic defects; ties go to the one named first. --out DIR gets a
    stream file for each method that is taken.
    """
    click.get_current_context().with_resource(ignoring_trusted_keys())
    if out is not None:
        check_report("--out", out)
    check_memory_budget(budget_mb)
    if len(methods) > 1:
        given = {"--axis": axes, "--set": settings, "--budget-ms": budget_ms}
        given |= {"--budget-mb": budget_mb, "--device": device != "auto"}
        _require_comparable(methods, backbone, [name for name, one in given.items() if one])
        cores = threads or available_cores()
        _compare(
            ComparisonRequest(stream, _products(stream), methods, backbone, seed, cores),
            _folder(out),
        )
        return
    from cad_edge_training.methods import default_method

    method = methods[0] if methods else default_method(backbone)
    request = SearchRequest(
        place=stream,
        stream=_products(stream),
        space=_space(method, backbone, device, settings, axes),
        shared=LearningOptions(method, backbone, seed, device, threads or available_cores()),
        budgets=Budgets(budget_ms, budget_mb),
    )
    with _working(out) as work:
        swept = sweep(request, work, lambda doing: click.echo(doing, err=True))
    advice = recommend(request, swept)
    document = advice_document(advice)
    click.echo(text(document))
    if out is not None:
        for path in write_report(out, "advice", document, canonical_json(advice)):
            click.echo(f"wrote {path}", err=True)
    if advice.taken is None:
        raise click.exceptions.Exit(1)


def _require_comparable(methods: tuple[str, ...], backbone: str, given: list[str]) -> None:
    """Raise OptionError for what cannot be compared, or does not go with it."""
    if len(set(methods)) < len(methods):
        twice = next(name for name in methods if methods.count(name) > 1)
        raise OptionError(f"--method {twice} is given twice; give each method once")
    if given:
        raise OptionError(
            f"{given[0]} goes with one --method, whose settings are tried; leave it out, or give "
            "one method"
        )
    for method in methods:
        _check(method, backbone, {})


def _folder(out: Path | None) -> Path:
    if out is None or is_file(out):
        raise OptionError(
            "to compare methods, give a folder by --out; it gets the report and a stream file for "
            "each method that is taken"
        )
    return out


def _compare(request: ComparisonRequest, out: Path) -> None:
    advice = compare_methods(request, out, lambda doing: click.echo(doing, err=True))
    document = methods_document(advice)
    click.echo(text(document))
    for path in write_report(out, "advice", document, canonical_json(advice)):
        click.echo(f"wrote {path}", err=True)


def _products(stream: Path) -> Stream:
    """Read the products; each must be one image of a part."""
    products = read_products(stream)
    for task in products.tasks:
        task.images()
    return products


def _space(
    method: str, backbone: str, device: str, settings: tuple[str, ...], axes: tuple[str, ...]
) -> Space:
    """Axes to sweep; wrong options are refused before anything is learned."""
    from cad_edge_training.commands import read_settings

    given = read_settings(settings)
    _check(method, backbone, given)
    found = choose_device(device, load_onnxruntime().get_available_providers())
    return Space(method, backbone, found.name, given, axes)


def _check(method: str, backbone: str, given: Mapping[str, str]) -> None:
    """Refuse a method that cannot be learned by these options, or not be exported."""
    from cad_edge_export.fusions import fusion_of
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.train import TrainingPlan, read_config

    read_config(TrainingPlan(method, backbone, None, given, 0))
    fusion_of(method)
    load_backbone(backbone)


@contextmanager
def _working(out: Path | None) -> Iterator[Path]:
    """Give the place of what is learned: the folder of the advice, else one for this call."""
    if out is not None and not is_file(out):
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="cad-edge-advise-") as place:
        yield Path(place)
