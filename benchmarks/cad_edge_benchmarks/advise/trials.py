"""Learning, exporting and judging settings in a folder where nothing is done twice.

    WORK/learned/<key>/         artifacts of one way to learn
         exported/<key>/bundle  one precision of them, and
                /answers.json   what it said of the test images
         combinations/<key>.json

A key is a hash of everything that the result depends on: images, seed, settings, versions.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cad_edge import __version__
from cad_edge.data.stream import Stream
from cad_edge.errors import OptionError
from cad_edge.schema import canonical_json, parse_json, sha256_of
from cad_edge.store.artifact import list_artifacts
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.advise.predictions import Answers, judge
from cad_edge_benchmarks.advise.search_space import Setting
from cad_edge_benchmarks.advise.validation_split import Line
from cad_edge_benchmarks.instruments.command_runner import export, learn

_KEY = 16  # hexadecimal digits of a folder's name
_EIGHT_BITS = ("int8", "uint8")


@dataclass(frozen=True)
class Taught:
    """What every setting of a sweep is learned and judged with."""

    method: str
    backbone: str
    seed: int
    device: str
    """As asked for."""
    threads: int


def fingerprint(stream: Stream) -> str:
    """sha256 over products and the bytes of all their images, masks and labels."""
    lines = [f"rate {stream.false_reject_rate}"]
    for task in stream.tasks:
        product = task.images()
        files = [("train", path) for path in product.train]
        for item in product.test:
            files.append((item.label, item.path))
            files += [("mask", item.mask)] if item.mask is not None else []
        lines += [f"{task.name} {kind} {path.name} {_digest(path)}" for kind, path in files]
    return sha256_of("\n".join(lines).encode())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Trials:
    """Where settings are learned, exported and judged.

    Parameters
    ----------
    work
        Folder of what is kept.
    line
        Products and the images that judge them.
    data
        `fingerprint` of the products.
    taught
        What all settings share.
    """

    def __init__(self, work: Path, line: Line, data: str, taught: Taught) -> None:
        self._work, self._line, self._data, self._taught = work, line, data, taught
        self._stream_file = work / "learned.json"
        replace_file(self._stream_file, canonical_json(line.stream))

    def bundle(self, setting: Setting) -> Path:
        """Folder of the setting's bundle."""
        return self._exported(setting) / "bundle"

    def answers(self, setting: Setting, say: Callable[[str], None]) -> Answers:
        """Learn, export and judge whatever is not there yet, and say what is being done.

        Raises
        ------
        CadEdgeError
            The setting cannot be learned, exported or opened.
        """
        path = self._exported(setting) / "answers.json"
        if path.is_file():
            say("was measured before")
            return parse_json(Answers, path.read_bytes(), str(path), OptionError)
        artifacts = self._learn(setting, say)
        say(f"exporting as {setting.precision}")
        export(
            list_artifacts(artifacts),
            self.bundle(setting),
            self._exported(setting) / "staging",
            precision=setting.precision,
            calibration=self._stream_file if setting.precision in _EIGHT_BITS else None,
            backbone=self._taught.backbone,
        )
        say("judging")
        found = judge(self.bundle(setting), self._line, self._taught.device, self._taught.threads)
        replace_file(path, canonical_json(found))
        return found

    def key(self, *parts: object) -> str:
        """Name for what depends on ``parts`` besides data, method, backbone and seed."""
        shared = (__version__, self._data, self._taught.method, self._taught.backbone)
        return sha256_of(repr((*shared, self._taught.seed, *parts)).encode())[:_KEY]

    def _learn(self, setting: Setting, say: Callable[[str], None]) -> Path:
        artifacts = self._work / "learned" / self.key(setting.size, setting.options)
        names = {path.name for path in list_artifacts(artifacts)} if artifacts.is_dir() else set()
        if names != {task.name for task in self._line.stream.tasks}:
            say("learning")
            learn(self._stream_file, artifacts, self._taught.seed, self._options(setting))
        return artifacts

    def _options(self, setting: Setting) -> list[str]:
        words = ["--method", self._taught.method, "--backbone", self._taught.backbone]
        words += ["--size", str(setting.size)] if setting.size is not None else []
        return words + [word for option in setting.options for word in ("--set", option)]

    def _exported(self, setting: Setting) -> Path:
        parts = (setting.size, setting.options, setting.precision, self._taught.device)
        return self._work / "exported" / self.key(*parts)
