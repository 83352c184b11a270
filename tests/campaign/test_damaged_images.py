"""Damaged image files of every format: a frame or one sentence, in bounded time and memory."""

import random
import resource
from time import perf_counter

import numpy as np
import pytest

from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import decode_image, image_size
from cad_edge.errors import ImageError
from tests.base.test_incomplete_images import FILES

LONGEST_SENTENCE = 600  # characters
LONGEST = 10.0  # seconds
MOST = 1 << 30  # bytes beyond what the process had


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Change, remove or put in a few bytes, more often in the header or at the end."""
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        place = chance.randrange(min(chance.choice((40, 200, len(found))), len(found)))
        place = chance.choice((place, place, len(found) - 1 - place))
        kind = chance.random()
        if kind < 0.4:
            found[place] ^= 1 << chance.randrange(8)
        elif kind < 0.7:
            found[place] = chance.choice((0, 1, 127, 128, 255))
        elif kind < 0.85:
            del found[place : place + chance.randrange(1, 20)]
        else:
            found[place:place] = chance.randbytes(chance.randrange(1, 10))
        if not found:
            break
    return bytes(found)


def used() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_damaged_images(tmp_path, campaign, campaign_seed, record):
    chance = random.Random(campaign_seed)
    path, before, longest = tmp_path / "a.image", used(), 0.0
    counted = {"frames": 0, "refused": 0}
    names = list(FILES)
    for _ in range(campaign["damaged_images"]):
        name = chance.choice(names)
        content = damaged(FILES[name], chance)
        path.write_bytes(content)
        for read in (decode_image, image_size, decode_depth):
            began = perf_counter()
            try:
                found = read(path)
            except ImageError as problem:
                said = str(problem)
                assert said.isprintable() and len(said) < LONGEST_SENTENCE, said
                counted["refused"] += read is decode_image
            except Exception as problem:
                pytest.fail(f"{name} of seed {campaign_seed}: {problem!r} of {content[:64]!r}")
            else:
                if read is decode_image:
                    assert found.dtype == np.uint8 and found.shape[2:] == (3,)
                    counted["frames"] += 1
            longest = max(longest, perf_counter() - began)
    assert longest < LONGEST
    assert used() - before < MOST
    record("damaged_images", {**counted, "longest_seconds": round(longest, 3)})
