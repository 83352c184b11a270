"""The comparison for people: `docs/results/peers.md`, the terminal the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from cad_edge_benchmarks.reporting.headings import MEAN
from cad_edge_benchmarks.reporting.tables import figure, markdown_table
from cad_edge_benchmarks.reporting.targets import HEAD, target_rows
from cad_edge_studies.peers.accuracy import FIGURES
from cad_edge_studies.peers.time_and_memory import KIND, OURS
from cad_edge_studies.peers.verdicts import (
    FRAMES,
    MEGABYTE,
    ROUTED,
    WITHOUT_FIGURES,
    Result,
    peer_strengths,
    peer_targets,
    typical,
)


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
