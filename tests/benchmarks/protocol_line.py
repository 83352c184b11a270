"""A small line with masks, and the command on an untrained network that exports quickly."""

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from cad_edge.cli import main
from tests.training.small_products import texture, write_product

STAIN = (slice(30, 38), slice(34, 42))


def write_line(folder: Path) -> Path:
    """Write three products, two of them in one step; return the stream file.

    ``waves`` has good test images only, ``stripes`` no masks.
    """
    tasks = []
    for name in ("checks", "stripes", "waves"):
        product = write_product(folder, name, good=8, test=2)
        for image in (product / "test/blot").iterdir():
            image.unlink()
        (product / "test/blot").rmdir()
        if name != "waves":
            _write_stains(product, name, masks=name == "checks")
        tasks.append({"name": name, "path": name})
    stream = folder / "line.json"
    steps = [["checks", "stripes"], ["waves"]]
    content = {"name": "line", "false_reject_rate": 0.2, "tasks": tasks, "steps": steps}
    stream.write_text(json.dumps(content))
    return stream


def _write_stains(product: Path, name: str, masks: bool) -> None:
    rng = np.random.default_rng(5)
    mask = np.zeros((80, 80), np.uint8)
    mask[STAIN] = 255
    for place in ("test/stain", "ground_truth/stain"):
        (product / place).mkdir(parents=True)
    for number in range(2):
        image = texture(name, rng)
        image[STAIN] = 0.6 * image[STAIN] + 0.4 * np.array((250, 240, 60))
        Image.fromarray(image).save(product / f"test/stain/{number:03d}.png")
        if masks:
            Image.fromarray(mask).save(product / f"ground_truth/stain/{number:03d}_mask.png")


def arguments(stream: Path, out: Path, network: Path, *more: str) -> list[str]:
    """Words after ``cad-edge`` for a protocol on the untrained network."""
    options = ("memories=1+2x16", "statistics_blocks=", "keys=8")
    settings = [word for option in options for word in ("--set", option)]
    place = ["--out", str(out), "--backbone", f"dinov2:{network}"]
    place += ["--method", "patch_memory"]
    return ["protocol", "--stream", str(stream), *place, *settings, "--threads", "1", *more]


def run(stream: Path, out: Path, network: Path, *more: str) -> Result:
    """Run a protocol in this process, with colours."""
    done = CliRunner().invoke(main, arguments(stream, out, network, *more), color=True)
    assert done.exit_code == 0, done.output
    return done
