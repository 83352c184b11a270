"""Comparing methods product by product on held-out good parts, and what to run then."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from cad_edge.data.stream import Stream, StreamTask
from cad_edge.errors import CadEdgeError
from cad_edge.schema import canonical_json
from cad_edge.store.atomic_write import replace_file
from cad_edge.store.lock import WriterLock
from cad_edge_benchmarks.advise.held_out_parts import local_and_structural
from cad_edge_benchmarks.advise.method_choice import choose
from cad_edge_benchmarks.advise.method_evidence import HeldOutParts, MethodEvidence, gather
from cad_edge_benchmarks.advise.method_schema import (
    MethodFigures,
    MethodsAdvice,
    MethodsRequest,
    ProductAdvice,
    Statement,
)
from cad_edge_benchmarks.advise.trials import LearningOptions, fingerprint_of
from cad_edge_benchmarks.advise.validation_split import seed_of, write_synthetic
from cad_edge_benchmarks.instruments.environment import describe_environment
from cad_edge_benchmarks.instruments.meters import load_nvml

Say = Callable[[str], None]


@dataclass(frozen=True)
class ComparisonRequest:
    """What is asked for."""

    place: Path
    """What the option ``--stream`` names."""
    stream: Stream
    methods: tuple[str, ...]
    """At least two, the one that ties go to first."""
    backbone: str
    seed: int
    threads: int


def compare_methods(request: ComparisonRequest, work: Path, say: Say) -> MethodsAdvice:
    """Choose a method for every product; ``work`` keeps what was learned, and stream files.

    Raises
    ------
    CadEdgeError
        A product has too few parts, no method can learn it, or another process is at work in
        ``work``.
    """
    import torch

    torch.set_num_threads(request.threads)
    with WriterLock(work / ".lock").hold():
        products = [_advise(request, task, work, say) for task in request.stream.tasks]
        taken = {one.name: one.taken for one in products}
        streams = write_streams(request.stream, taken, work / "streams")
    return MethodsAdvice(
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        asked=MethodsRequest(
            data=str(request.place),
            methods=list(request.methods),
            backbone=request.backbone,
            seed=request.seed,
            threads=request.threads,
        ),
        environment=describe_environment(load_nvml()),
        data_sha256=fingerprint_of(request.stream),
        stated_false_reject_rate=request.stream.false_reject_rate,
        products=products,
        commands=commands(streams, request.backbone, request.seed),
    )


def hold_out(task: StreamTask, rate: float, seed: int, work: Path) -> HeldOutParts:
    """Hold good parts of a product out, and write copies of them with synthetic defects.

    Raises
    ------
    DatasetError, ImageError
        There are too few good parts, or one cannot be read.
    """
    alone = Stream(name=task.name, false_reject_rate=rate, tasks=[task])
    sha256, product = fingerprint_of(alone), task.images()
    place = work / "held-out" / sha256[:16] / str(seed) / task.name
    own = seed_of(seed, task.name)
    source, images = write_synthetic(task, product, place, own, local_and_structural)
    learned = len(product.train) - len({one.origin for one in images})
    return HeldOutParts(source, learned, tuple(images), rate, sha256)


def _advise(request: ComparisonRequest, task: StreamTask, work: Path, say: Say) -> ProductAdvice:
    say(f"{task.name}: drawing defects on held-out parts")
    parts = hold_out(task, request.stream.false_reject_rate, request.seed, work)
    evidence: dict[str, MethodEvidence] = {}
    refused: dict[str, str] = {}
    for method in request.methods:
        say(f"{task.name}: {method}")
        options = LearningOptions(method, request.backbone, request.seed, "cpu", request.threads)
        try:
            evidence[method] = gather(parts, work, options)
        except CadEdgeError as problem:
            refused[method] = str(problem)
            if len(refused) == len(request.methods):
                raise
            say(f"{task.name}: {method} refused: {problem}")
    chosen = choose(evidence)
    return ProductAdvice(
        name=task.name,
        path=str(task.path),
        learned=parts.learned,
        held_out=int(parts.good.sum()),
        methods={name: _record(one) for name, one in evidence.items()},
        refused=refused,
        taken=chosen.method,
        reason=chosen.reason,
    )


def _record(found: MethodEvidence) -> MethodFigures:
    said = found.suitability
    return MethodFigures(
        found=dict(found.found),
        found_mean=found.mean_found,
        found_error=found.error,
        image_auroc=dict(found.auroc),
        image_auroc_mean=found.mean_auroc,
        suitability=None if said is None else Statement(**asdict(said)),
    )


def write_streams(stream: Stream, taken: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Write a stream file for every method that is taken, with its products and their steps.

    Parameters
    ----------
    stream
        All products.
    taken
        Method by the name of the product.
    folder
        Of the files.

    Returns
    -------
    dict
        File by the name of the method, in the order of their first products.
    """
    found = {}
    for method in dict.fromkeys(taken[task.name] for task in stream.tasks):
        own = [task for task in stream.tasks if taken[task.name] == method]
        steps = [[name for name in step if taken[name] == method] for step in stream.steps]
        update = {"tasks": own, "steps": [step for step in steps if step]}
        found[method] = (folder / f"{method}.json").absolute()
        replace_file(found[method], canonical_json(stream.model_copy(update=update)))
    return found


def commands(streams: Mapping[str, Path], backbone: str, seed: int) -> list[str]:
    """Write the commands that learn every product by its method and export one bundle.

    One folder holds the artifacts of all methods; defaults are left out.
    """
    from cad_edge_training.backbones import DEFAULT_BACKBONE

    own = [] if backbone == DEFAULT_BACKBONE else ["--backbone", backbone]
    said = []
    for method, file in streams.items():
        words = ["train", "--stream", str(file), "--out", "artifacts", "--method", method]
        said.append([*words, *own, "--seed", str(seed)])
    said.append(["export", "artifacts", "--bundle", "bundle", *own])
    return [shlex.join(["cad-edge", *words]) for words in said]
