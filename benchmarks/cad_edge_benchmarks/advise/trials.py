"""Learning, exporting and judging settings in a folder where nothing is done twice.

    WORK/learned/<key>/             artifacts of one way to learn
         exported/<key>/bundle      one precision of them, and
               /predictions.json    what it says of the test images
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
from cad_edge_benchmarks.advise.predictions import Predictions, predict
from cad_edge_benchmarks.advise.search_space import Setting
from cad_edge_benchmarks.advise.validation_split import SplitStream
from cad_edge_benchmarks.instruments.command_runner import export, learn

_KEY = 16  # hexadecimal digits of a folder's name
_EIGHT_BITS = ("int8", "uint8")


@dataclass(frozen=True)
class LearningOptions:
    """What every setting of a sweep is learned and judged with."""

    method: str
    backbone: str
    seed: int
    device: str
    """As asked for."""
    threads: int


def fingerprint_of(stream: Stream) -> str:
    """sha256 over products and the bytes of all their images, masks and labels."""
    lines = [f"rate {stream.false_reject_rate}"]
    for task in stream.tasks:
        product = task.images()
        files = [("train", path) for path in product.train]
        for item in product.test:
            files.append((item.label, item.path))
            files += [("mask", file) for file in item.mask_files()]
        lines += [f"{task.name} {kind} {path.name} {_digest(path)}" for kind, path in files]
    return sha256_of("\n".join(lines).encode("utf-8", "surrogateescape"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Trials:
    """Where settings are learned, exported and judged.

    Parameters
    ----------
    work
        Folder of what is kept.
    data
        Products and the images that judge them.
    fingerprint
        `fingerprint_of` the products.
    shared
        What all settings share.
    """

    def __init__(
        self, work: Path, data: SplitStream, fingerprint: str, shared: LearningOptions
    ) -> None:
        self._work, self._data, self._fingerprint, self._shared = work, data, fingerprint, shared
        self._stream_file = work / "learned.json"
        replace_file(self._stream_file, canonical_json(data.stream))

    def bundle(self, setting: Setting) -> Path:
        """Folder of the setting's bundle."""
        return self._exported(setting) / "bundle"

    def predictions(self, setting: Setting, say: Callable[[str], None]) -> Predictions:
        """Learn, export and judge whatever is not there yet; `say` is told what is being done.

        Raises
        ------
        CadEdgeError
            The setting cannot be learned, exported or opened.
        """
        path = self._exported(setting) / "predictions.json"
        if path.is_file():
            say("was measured before")
            return parse_json(Predictions, path.read_bytes(), str(path), OptionError)
        artifacts = self._learn(setting, say)
        say(f"exporting as {setting.precision}")
        export(
            list_artifacts(artifacts),
            self.bundle(setting),
            self._exported(setting) / "staging",
            precision=setting.precision,
            calibration=self._stream_file if setting.precision in _EIGHT_BITS else None,
            backbone=self._shared.backbone,
        )
        say("judging")
        found = predict(self.bundle(setting), self._data, self._shared.device, self._shared.threads)
        replace_file(path, canonical_json(found))
        return found

    def key(self, *parts: object) -> str:
        """Name for what depends on ``parts`` besides data, method, backbone and seed."""
        shared = (__version__, self._fingerprint, self._shared.method, self._shared.backbone)
        return sha256_of(repr((*shared, self._shared.seed, *parts)).encode())[:_KEY]

    def _learn(self, setting: Setting, say: Callable[[str], None]) -> Path:
        artifacts = self._work / "learned" / self.key(setting.size, setting.options)
        names = {path.name for path in list_artifacts(artifacts)} if artifacts.is_dir() else set()
        if names != {task.name for task in self._data.stream.tasks}:
            say("learning")
            learn(self._stream_file, artifacts, self._shared.seed, self._options(setting))
        return artifacts

    def _options(self, setting: Setting) -> list[str]:
        words = ["--method", self._shared.method, "--backbone", self._shared.backbone]
        words += ["--size", str(setting.size)] if setting.size is not None else []
        return words + [word for option in setting.options for word in ("--set", option)]

    def _exported(self, setting: Setting) -> Path:
        parts = (setting.size, setting.options, setting.precision, self._shared.device)
        return self._work / "exported" / self.key(*parts)
