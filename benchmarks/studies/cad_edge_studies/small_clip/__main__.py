"""Train a small CLIP on drawn scenes, write it to a folder, and rank held-out texts.

python -m cad_edge_studies.small_clip [--folder FOLDER --steps N --minutes N --seed N --out FILE]
"""

import time
from dataclasses import asdict, replace
from pathlib import Path

import click
import torch

from cad_edge_benchmarks.reporting.tables import text_table, write_result
from cad_edge_studies.open_category_study import RESULTS, Study, made_with
from cad_edge_studies.small_clip.captions import build_tokenizer
from cad_edge_studies.small_clip.ranking import Ranking, rankings
from cad_edge_studies.small_clip.training import PLAN, train

RESULT = RESULTS / "small-clip.json"
HELD_OUT = 1_000_003  # added to the seed of their scenes, so that no training image is among them
PLACE = click.Path(path_type=Path)


@click.command("small_clip", cls=Study)
@click.option("--folder", type=PLACE, default=Path("out/small_clip"), help="Of the weights.")
@click.option("--steps", default=PLAN.steps, show_default=True, help="Of the schedule.")
@click.option("--minutes", default=PLAN.minutes, show_default=True, help="Cap on the time.")
@click.option("--seed", default=PLAN.seed, show_default=True, help="Of weights and scenes.")
@click.option("--out", type=PLACE, default=RESULT, show_default=False)
def main(folder: Path, steps: int, minutes: float, seed: int, out: Path) -> None:
    """Train a small CLIP and write what it ranks."""
    plan = replace(PLAN, steps=steps, minutes=minutes, seed=seed)
    tokenizer, start = build_tokenizer(), time.monotonic()
    model, done = train(tokenizer, plan, click.echo)
    seconds = round(time.monotonic() - start)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    found = rankings(model, tokenizer, plan.seed + HELD_OUT)
    record = {
        "plan": asdict(plan),
        "steps": done,
        "seconds": seconds,
        "held_out": {name: asdict(one) for name, one in found.items()},
    }
    write_result(out, {**made_with(torch.get_num_threads()), **record})
    click.echo(f"{done} steps in {seconds} s; {folder}\n{table(found)}")


def table(found: dict[str, Ranking]) -> str:
    """Lay out rankings, chance beside them."""
    head = ["", "texts", "first", "by chance", "first five", "by chance"]
    rows = [
        [name, str(one.texts), *(f"{value:.3f}" for value in _figures(one))]
        for name, one in found.items()
    ]
    return text_table(head, rows)


def _figures(one: Ranking) -> tuple[float, ...]:
    return one.top_1, one.chance_1, one.top_5, one.chance_5


if __name__ == "__main__":
    main()
