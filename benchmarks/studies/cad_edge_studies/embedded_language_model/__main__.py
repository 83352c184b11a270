"""Make the embedded language model: train it, write it to a folder, evaluate what was written.

python -m cad_edge_studies.embedded_language_model --out FOLDER [--steps N --minutes N --seed N]
"""

import json
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import click
import torch

from cad_edge_studies.embedded_language_model.evaluation import Result, evaluate
from cad_edge_studies.embedded_language_model.training_loop import PretrainingPlan, train
from cad_edge_training.backbones.llava.loading import load_llava
from cad_edge_training.backbones.llava.small import SMALL

EVALUATED = 400  # pairs of held-out scenes
HELD_OUT = 1_000_003  # added to the seed of their scenes, so that no training image is among them


def evaluate_folder(folder: Path, plan: PretrainingPlan, steps: int, seconds: float) -> Result:
    """Evaluate what was saved, and note beside it in ``training.json`` how it was made."""
    result = evaluate(load_llava(str(folder), name=SMALL), plan.seed + HELD_OUT, EVALUATED)
    note = {
        "made_by": "python -m cad_edge_studies.embedded_language_model",
        "plan": asdict(plan),
        "steps": steps,
        "seconds": round(seconds),
        "held_out_pairs": EVALUATED,
        "held_out_accuracy": round(result.accuracy, 4),
        "held_out_auroc": round(result.auroc, 4),
        "found_per_kind": {kind: round(share, 3) for kind, share in result.per_kind.items()},
        "described": {what: round(share, 3) for what, share in result.described.items()},
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy", "pillow")}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }
    (folder / "training.json").write_text(json.dumps(note, indent=2) + "\n", "utf-8")
    return result


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", default=PretrainingPlan.steps, show_default=True, help="Of the schedule.")
@click.option(
    "--minutes", default=PretrainingPlan.minutes, show_default=True, help="Cap on the time."
)
@click.option(
    "--seed", default=PretrainingPlan.seed, show_default=True, help="Of weights and images."
)
def main(out: Path, steps: int, minutes: float, seed: int) -> None:
    """Train the embedded language model and write it to a folder."""
    plan = PretrainingPlan(seed=seed, steps=steps, minutes=minutes)
    start = time.monotonic()
    model, done = train(plan, click.echo)
    seconds = time.monotonic() - start
    model.save(out)
    result = evaluate_folder(out, plan, done, seconds)
    click.echo(
        f"{done} steps in {seconds:.0f} s; held out: accuracy {result.accuracy:.3f}, "
        f"AUROC {result.auroc:.3f}; {out}"
    )


if __name__ == "__main__":
    main()
