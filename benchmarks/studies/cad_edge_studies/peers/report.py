"""The comparison for people, `docs/results/peers.md`: what has to be reached, and what is ahead."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cad_edge_benchmarks.reporting.headings import MEAN
from cad_edge_benchmarks.reporting.tables import figure, markdown_table
from cad_edge_benchmarks.reporting.targets import HEAD, Target, target_rows
from cad_edge_studies.peers.accuracy import FIGURES
from cad_edge_studies.peers.anomalib_worker import RUNTIMES
from cad_edge_studies.peers.time_and_memory import KIND, OURS, name_of

Result = Mapping[str, Any]

INFERENCERS = ("torch", "openvino", "openvino-f32", "openvino-int8")
"""Anomalib's own; its ONNX in ONNX Runtime is run without it."""
ROUTED = name_of("fp32", routed=True)
MEGABYTE = 1e6
FRAMES = {"following": "a busy line", "rested": "after a rest"}
"""Frames of a turn, in words."""
WITHOUT_FIGURES = (
    "More than twenty other methods, some of which reach more with larger networks; one trunk and "
    "one method of anomalib are compared in accuracy here.",
    "Training and inference on GPUs, which cad-edge has never been run on.",
)
"""What anomalib does better and no row of the comparison shows."""


def peers_page(result: Result) -> str:
    """Lay out everything as Markdown, what the peer does better first."""
    bank = result["accuracy"]["bank"]
    parts = [
        f"# cad-edge beside anomalib {result['peer_versions']['anomalib']}",
        "`make result-peers` wrote this page. How this is measured, and what was done in favour of "
        "either side: [peers](../peers.md).",
        "## What anomalib does better",
        _bullets([*peer_strengths(result), *WITHOUT_FIGURES]),
        "## Must reach",
        markdown_table(HEAD, target_rows(peer_targets(result))),
        "## From a uint8 array to verdict and map",
        "Milliseconds, medians of one run of turns per model. *Busy* is a frame right after "
        "another, *rested* the first after a rest. *Times* is the row's median over that of "
        f"`{ROUTED}` in the same run. USS is of the row's process. anomalib's networks have random "
        "weights here, since pretrained ones have to be downloaded; times depend on shapes.",
        *(_latency(kind, rows) for kind, rows in result["latency"].items()),
        "## Ten products in memory",
        "One process after every product was inspected: one detector, or ten inferencers.",
        _memory(result["memory_of_ten"]),
        "## Files, import, start",
        _files(result),
        _start(result),
        f"## Accuracy, one trunk, PatchCore with {bank} patches and with more",
        "PatchCore has one model per category and is asked the right one; cad-edge has one bundle "
        "and recognises the product first.",
        _accuracy(result["accuracy"]),
        "## Made on",
        _bullets(_made_on(result)),
    ]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _latency(kind: str, rows: Mapping[str, Any]) -> str:
    table = []
    for name, row in rows.items():
        (busy, times), (rested, rested_times) = (
            (typical(row, frame), typical(row, frame) / typical(rows[ROUTED], frame))
            for frame in FRAMES
        )
        shown = (busy, row["following"]["p95"], times, rested, rested_times)
        unique = figure(row["memory"]["uss"] / MEGABYTE, 0)
        table.append([name, *(figure(value, 2) for value in shown), unique])
    return markdown_table([kind, "busy", "p95", "times", "rested", "times", "USS, MB"], table)


def _memory(memory: Mapping[str, Any]) -> str:
    rows = []
    for name, one in memory.items():
        sizes = [figure(one[kind] / MEGABYTE, 0) for kind in ("uss", "pss", "rss")]
        rows.append([name, *sizes, figure(one["uss"] / memory[OURS]["uss"], 2)])
    return markdown_table([KIND, "USS, MB", "PSS, MB", "RSS, MB", "times"], rows)


def _files(result: Result) -> str:
    rows = []
    for kind, sizes in result["file_bytes"].items():
        products = f"bundle of {result['products']} products"
        what = products if kind == OURS else f"{kind}, one product"
        rows += [[what, name, figure(size / MEGABYTE, 1)] for name, size in sizes.items()]
    return markdown_table(["files", "for", "MB"], rows)


def _start(result: Result) -> str:
    rows = {
        "import the runtime and ONNX Runtime": result["imports"]["cad_edge"],
        "import anomalib's inferencer": result["imports"]["anomalib"],
    }
    for name, seconds in result["start_seconds"].items():
        rows[f"process start to first verdict, {name}"] = seconds
    return markdown_table([KIND, "seconds"], [[what, figure(s, 2)] for what, s in rows.items()])


def _accuracy(accuracy: Mapping[str, Any]) -> str:
    sides = {
        "cad_edge": "cad-edge",
        "patchcore": f"PatchCore {accuracy['bank']}",
        "larger": f"PatchCore {accuracy['larger_bank']}",
    }
    columns = [(key, side) for key in FIGURES for side in sides]
    head = ["category", *(f"{FIGURES[key]}, {sides[side]}" for key, side in columns)]
    tasks = [
        [name, *(figure(accuracy[side][name][key]) for key, side in columns)]
        for name in accuracy["cad_edge"]
    ]
    mean = [MEAN, *(figure(accuracy["mean"][side][key], 4) for key, side in columns)]
    return markdown_table(head, [*tasks, mean])


def _made_on(result: Result) -> list[str]:
    machine = result["machine"]
    ours, theirs = (
        ", ".join(f"{name} {version}" for name, version in result[versions].items())
        for versions in ("versions", "peer_versions")
    )
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {', '.join(machine['instructions'])}, "
        f"{machine['system']}; load {machine['load']} at the start.",
        f"{result['threads']} threads, {result['rounds']} rounds, seed {result['seed']}, "
        f"stream {result['stream']}, {result['products']} products, "
        f"frames of {result['image_size'][0]} x {result['image_size'][1]}.",
        f"cad-edge: {ours}; commit {result['commit']}.",
        f"anomalib: {theirs}.",
    ]


def typical(row: Mapping[str, Any], frame: str = "following") -> float:
    """Median milliseconds of a row; ``frame`` is one of `FRAMES`."""
    return float(row[frame]["p50"])


def best_routed(rows: Mapping[str, Any]) -> str:
    """Name of cad-edge's fastest routed row, over all precisions."""
    names = [name for name in rows if name.startswith(OURS) and name.endswith("routed")]
    return min(names, key=lambda name: typical(rows[name]))


def peer_targets(result: Result) -> list[Target]:
    """Every row that is judged; ratios are of medians of one run."""
    rows, memory, imports = result["latency"][KIND], result["memory_of_ten"], result["imports"]
    best, fastest = best_routed(rows), min(RUNTIMES, key=lambda name: typical(rows[name]))
    # Routed, against PatchCore with as many patches and each category by its own model.
    accuracy, mean = result["accuracy"], result["accuracy"]["mean"]
    reached, limit = (round(mean[one]["image_auroc"], 4) for one in ("cad_edge", "patchcore"))
    bank = f"mean image AUROC, routed; PatchCore with {accuracy['bank']} patches"
    # One process of ours against the leanest of anomalib's inferencers.
    least = min(INFERENCERS, key=lambda name: memory[name]["uss"])
    unique = f"unique memory, ten products; ten inferencers ({least})"
    imported = "seconds to import, runtime to inferencer"
    pairs = (
        ("PatchCore, ONNX Runtime, against routed fp32", 3.0, "onnxruntime", ROUTED),
        ("PatchCore, OpenVINO f32, against routed fp32", 2.5, "openvino-f32", ROUTED),
        (f"PatchCore's fastest ({fastest}) against {best}", 1.5, fastest, best),
    )
    return [
        *(
            Target(what, "at least", times, typical(rows[theirs]) / typical(rows[ours]), "times")
            for what, times, theirs, ours in pairs
        ),
        Target(bank, "at least", limit, reached),
        Target(unique, "at most", 0.2, memory[OURS]["uss"] / memory[least]["uss"]),
        Target(imported, "at most", 0.1, imports["cad_edge"] / imports["anomalib"]),
    ]


def peer_strengths(result: Result) -> list[str]:
    """One sentence for everything in which anomalib is ahead of routed cad-edge in fp32."""
    return [
        *_accuracy_ahead(result["accuracy"]),
        *_latency_ahead(result),
        *_footprint_ahead(result),
    ]


def _accuracy_ahead(accuracy: Mapping[str, Any]) -> Iterator[str]:
    """Means first, then categories, of either bank."""
    banks = {"patchcore": accuracy["bank"], "larger": accuracy["larger_bank"]}
    rows = [(side, bank, key) for side, bank in banks.items() for key in FIGURES]
    for side, bank, key in rows:
        theirs, ours = (accuracy["mean"][name][key] for name in (side, "cad_edge"))
        if _ahead(theirs, ours):
            yield f"Mean {FIGURES[key]}, PatchCore with {bank} patches: {theirs:.4f} to {ours:.4f}."
    for side, bank, key in rows:
        names = [
            f"{name} ({theirs:.3f} to {ours:.3f})"
            for name, task in accuracy[side].items()
            if _ahead(theirs := task[key], ours := accuracy["cad_edge"][name][key])
        ]
        if names:
            yield f"{FIGURES[key]}, PatchCore with {bank} patches, in {', '.join(names)}."


def _ahead(theirs: float | None, ours: float | None) -> bool:
    return theirs is not None and ours is not None and theirs > ours


def _latency_ahead(result: Result) -> Iterator[str]:
    for kind, rows in result["latency"].items():
        for name in RUNTIMES:
            for frame, words in FRAMES.items():
                theirs, ours = typical(rows[name], frame), typical(rows[ROUTED], frame)
                if theirs < ours:
                    yield f"Latency of {kind} by {name}, {words}: {theirs:.2f} ms to {ours:.2f} ms."


def _footprint_ahead(result: Result) -> Iterator[str]:
    memory, starts = result["memory_of_ten"], result["start_seconds"]
    for name, one in memory.items():
        if one["uss"] < memory[OURS]["uss"]:
            yield f"Memory of ten products by {name}: {one['uss'] / MEGABYTE:.0f} MB."
    for name, seconds in starts.items():
        if seconds < starts[OURS]:
            yield f"Start to first verdict by {name}: {seconds:.2f} s to {starts[OURS]:.2f} s."
    ours = result["file_bytes"][OURS]["fp32"]
    bundle = f"a bundle of {result['products']} products has {ours / MEGABYTE:.1f} MB"
    for name, size in result["file_bytes"][KIND].items():
        if size < ours:
            yield f"File for one product by {name}: {size / MEGABYTE:.1f} MB; {bundle}."
