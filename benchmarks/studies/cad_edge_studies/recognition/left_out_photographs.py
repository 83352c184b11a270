"""Windows of photographs that were not learned, shown to the product that they are of.

A product that is shown in windows of a few photographs is learned without some of these, all
choices of two in turn, and each bundle holds it alone.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.grouping import GroupRule
from cad_edge.data.stream import Stream, StreamTask
from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.open_data import FALSE_REJECT_RATE
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN, share
from cad_edge_studies.learned_stream import learn_stream
from cad_edge_studies.recognition.figures import Figures, shares

LEFT_OUT = 2  # photographs that are not learned


def link_windows(task: StreamTask, place: Path) -> tuple[Stream, dict[str, list[Path]]]:
    """Make products of all but two photographs.

    Returns
    -------
    A stream of the products, and by product the windows of the photographs that it lacks.

    Raises
    ------
    OptionError
        The windows are not known by their photographs, or there are too few of these.
    """
    product = task.samples()
    groups = task.groups(product)
    names = sorted(set(groups or ()))
    if groups is None or len(names) < LEFT_OUT + 2:
        raise OptionError(f"{task.name} has windows of {len(names)} known photographs; give others")
    tasks: list[StreamTask] = []
    kept_out: dict[str, list[Path]] = {}
    for pair in itertools.combinations(range(len(names)), LEFT_OUT):
        name = "without-" + "-".join(map(str, pair))
        tasks.append(StreamTask(name=name, path=place / name, group=GroupRule(pattern="^[^@]+")))
        good = place / name / "train" / "good"
        good.mkdir(parents=True, exist_ok=True)
        kept_out[name] = []
        for number, (path, group) in enumerate(zip(product.train, groups, strict=True)):
            photograph = names.index(group)
            if photograph in pair:
                kept_out[name].append(path)
                continue
            target = good / f"{photograph}@{number:04d}{path.suffix}"
            target.unlink(missing_ok=True)
            target.symlink_to(path.resolve())
    stream = Stream(name=task.name, false_reject_rate=FALSE_REJECT_RATE, tasks=tasks)
    return stream, kept_out


def window_figures(
    task: StreamTask, place: Path, seed: int, options: Sequence[str], threads: int
) -> Figures:
    """Show each product, alone in its bundle, the windows of the photographs that it lacks."""
    stream, kept_out = link_windows(task, place / "windows")
    learned = learn_stream(stream, place, seed, options, threads)
    versions = learned.versions(seed)
    unknown: dict[str, list[bool]] = {}
    for name, paths in kept_out.items():
        versions.commit([name])
        with learned.open(versions.path) as detector:
            unknown[name] = [detector.detect(path).verdict == UNKNOWN for path in paths]
    everything = [one for values in unknown.values() for one in values]
    return {"frames": len(everything), "pooled": share(everything), **shares(unknown)}
