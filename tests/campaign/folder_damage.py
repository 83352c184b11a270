"""Damage to a bundle's folder: what is missing, is no plain file, or does not belong there."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Folder = Callable[[Path, random.Random], None]


def _anything(bundle: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(path for path in bundle.rglob("*")))


def _missing(bundle: Path, chance: random.Random) -> None:
    path = _anything(bundle, chance)
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _link(bundle: Path, chance: random.Random) -> None:
    path = _anything(bundle, chance)
    away = bundle.with_name(bundle.name + ".away")
    path.rename(away)
    path.symlink_to(chance.choice((away, "/dev/zero", "/nowhere", path)))


def _fifo(bundle: Path, chance: random.Random) -> None:
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    path = chance.choice(files)
    if chance.random() < 0.3:
        path = path.with_name("stray.json")
    else:
        path.unlink()
    os.mkfifo(path)


def _folder(bundle: Path, chance: random.Random) -> None:
    path = _anything(bundle, chance)
    if path.is_dir():
        shutil.rmtree(path)
        path.write_bytes(b"")
    else:
        path.unlink()
        path.mkdir()


def _stray(bundle: Path, chance: random.Random) -> None:
    folders = [bundle, *sorted(path for path in bundle.rglob("*") if path.is_dir())]
    name = chance.choice(("notes.txt", "0" * 64, "graph.onnx", "a\nb", os.fsdecode(b"\xff")))
    (chance.choice(folders) / name).write_bytes(b"x")


def _sparse(bundle: Path, chance: random.Random) -> None:
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    os.truncate(chance.choice(files), chance.choice((1 << 26, 1 << 35)))


FOLDERS: tuple[Folder, ...] = (_missing, _link, _fifo, _folder, _stray, _sparse)
