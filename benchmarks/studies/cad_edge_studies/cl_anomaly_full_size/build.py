"""Make what is measured, in a process of its own, so that nothing of torch weighs on the rest.

    python -m cad_edge_studies.cl_anomaly_full_size.build FOLDER DIMENSIONS

leaves in ``FOLDER``, for dimensions in JSON,

    base/              the base model, its weights random
    artifacts/         tasks that nobody learned: drawn experts, and real routing statistics
    stream.json        the tasks' folders of good parts, which eight-bit ranges are measured on
    frames.npy         a frame of every task
    prompt.json        the prompt around an image, for transformers
    bundle-fp32/       the first task, then all of them as a second version
    bundle-uint8/      the family in eight bits, or refused-uint8.txt with the exporter's sentence

What is there already is not made again.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from cad_edge.calibration import Calibration
from cad_edge.errors import CadEdgeError
from cad_edge.routing import SAMPLES, RoutingStatistics, summarise
from cad_edge.store.artifact import Artifact, Provenance, Tensors, list_artifacts, write_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_studies.cl_anomaly_full_size.dimensions import (
    FLOAT,
    REFUSAL,
    ROUNDED,
    Dimensions,
    bundle_of,
)
from cad_edge_studies.procedural_rgbd_line.parts import PARTS
from cad_edge_studies.procedural_rgbd_line.scenes import render
from cad_edge_training.backbones.llava import LlavaBase, load_llava
from cad_edge_training.backbones.llava.chat import IMAGE
from cad_edge_training.backbones.llava.small_tokenizer import build_tokenizer
from cad_edge_training.folds import draw_folds
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.experts import new_private, new_shared
from cad_edge_training.methods.cl_anomaly.held_out import tokens_to_keep
from cad_edge_training.methods.cl_anomaly.model import TOKENS
from cad_edge_training.methods.cl_anomaly.sites import sites_of
from cad_edge_training.routing_statistics import routing_statistics

Frames = npt.NDArray[np.uint8]

WORDS = 2 * (  # twice, so that every word of them becomes a token
    "Are there any defects for the object in the image?"
    " Please reply with only one word 'Yes' or 'No'.",
    "There is a dark scratch in the upper left. The surface is clean.",
)
TOKENIZER_SIZE = 2000
SEED = 0
RATE = 0.2
_SEEN = 5  # images whose descriptors are computed; those of the rest are drawn around them
_GOOD = 10  # images in a folder of good parts
_SPREAD = 2.0  # deviations of what is drawn, in those of the images seen
_DEVIATION = 0.01  # of drawn weights


def main(folder: str, size: str) -> None:
    """Make it."""
    place, dimensions = Path(folder), Dimensions(**json.loads(size))
    # Each is complete once the file that is written last is there.
    if not (place / "base" / "tokenizer.json").exists():
        _write_base(place / "base", dimensions)
    if not (place / "prompt.json").exists():
        _write_tasks(place, dimensions)
    learned = list_artifacts(place / "artifacts")
    for count in (1, len(learned)):
        _export(learned[:count], place, FLOAT)
    refused = place / REFUSAL
    refused.unlink(missing_ok=True)
    try:
        _export(learned, place, ROUNDED)
    except CadEdgeError as problem:
        refused.write_text(str(problem), encoding="utf-8")


def _write_base(folder: Path, dimensions: Dimensions) -> None:
    """Write config, float32 weights and tokenizer as transformers saves them."""
    tokenizer = build_tokenizer(WORDS, TOKENIZER_SIZE)
    torch.manual_seed(SEED)
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            image_size=dimensions.side,
            patch_size=dimensions.patch,
            hidden_size=dimensions.vision_width,
            intermediate_size=dimensions.vision_inner,
            num_hidden_layers=dimensions.vision_layers,
            num_attention_heads=dimensions.vision_heads,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            vocab_size=dimensions.vocabulary,
            hidden_size=dimensions.width,
            intermediate_size=dimensions.inner,
            num_hidden_layers=dimensions.layers,
            num_attention_heads=dimensions.heads,
            num_key_value_heads=dimensions.kv_heads,
            tie_word_embeddings=True,
        ),
        image_grid_pinpoints=[[dimensions.side, dimensions.side]],
        image_token_index=tokenizer.token_to_id(IMAGE),
        video_token_index=tokenizer.token_to_id(IMAGE),
        tie_word_embeddings=True,
    )
    LlavaOnevisionForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def _write_tasks(place: Path, dimensions: Dimensions) -> None:
    """Write artifacts, stream, good parts and frames, and the token ids of a question."""
    base, config = load_llava(str(place / "base")), Config()
    for number, name in enumerate(dimensions.names):
        if not (place / "artifacts" / name).exists():
            _write_artifact(place / "artifacts", base, config, number, name)
        folder = place / "products" / name / "train" / "good"
        folder.mkdir(parents=True, exist_ok=True)
        for good, shown in enumerate(pictures(number, dimensions.side, _GOOD, seed=2)):
            Image.fromarray(shown).save(folder / f"{good:02d}.png")
    tasks = [{"name": name, "path": f"products/{name}"} for name in dimensions.names]
    stream = {"name": "sizes", "false_reject_rate": RATE, "tasks": tasks}
    (place / "stream.json").write_text(json.dumps(stream, indent=1), encoding="utf-8")
    frames = [pictures(task, dimensions.side, 1, seed=1) for task in range(dimensions.tasks)]
    np.save(place / "frames.npy", np.concatenate(frames))
    prompt, answers = base.prompt(config.question), base.answers
    rows = (base.n_patches + 1) * [base.tokenizer.token_to_id(IMAGE)]
    said = {"ids": [*prompt.before, *rows, *prompt.after], "yes": answers.yes, "no": answers.no}
    (place / "prompt.json").write_text(json.dumps(said), encoding="utf-8")


def pictures(task: int, side: int, count: int, seed: int) -> Frames:
    """Images (count, side, side, 3) uint8 of a product: parts of the procedural line.

    They vary as parts do, so that scores differ by more than what eight bits round away.
    """
    name = list(PARTS)[task % len(PARTS)]
    return np.stack([render(name, (seed, task, number), None, side).rgb for number in range(count)])


def _write_artifact(folder: Path, base: LlavaBase, config: Config, place: int, name: str) -> None:
    side, rng = base.recipe.height, np.random.default_rng(place)
    seen = pictures(place, side, _SEEN, seed=0)
    parts, sites = config.composition, sites_of(base.language)
    own = _drawn(new_private(sites, parts.rank, rng), rng)
    generation = _drawn(new_shared(sites, parts.experts, parts.rank, rng), rng)
    tokens = tokens_to_keep(base, seen)
    anchor = np.asarray(tokens.mean(axis=(0, 1), dtype=np.float64), np.float32)
    # Noise, whose score is not the threshold's as that of the one held-out image would be. What
    # torch said when the task was learned nobody knows, so that the drift says nothing.
    noise = np.random.default_rng([place, side]).integers(0, 256, (1, side, side, 3), np.uint8)
    record = Artifact(
        method="cl_anomaly",
        task=name,
        position=place,
        backbone=base.identity,
        recipe=base.recipe,
        hyperparameters=config.model_dump(mode="json"),
        calibration=Calibration(scheme="split", folds=1, scores=[0.0], map_peaks=[]),
        false_reject_rate=RATE,
        provenance=Provenance(
            seed=0, versions={}, data_sha256="0" * 64, images=SAMPLES, seconds=0.0
        ),
    )
    write_artifact(
        folder,
        record,
        own | {TOKENS: tokens, "anchor": anchor},
        _routing(base, config, seen, place).to_tensors(),
        {"image": noise, "score": np.zeros(1, np.float32)},
        generation | {"stage": np.array(place + 1, dtype=np.int64)},
    )


def _drawn(like: Tensors, rng: np.random.Generator) -> Tensors:
    """Draw weights of these shapes, none of them zero."""
    return {
        name: np.asarray(rng.normal(0, _DEVIATION, value.shape), np.float32)
        for name, value in like.items()
    }


def _routing(base: LlavaBase, config: Config, seen: Frames, place: int) -> RoutingStatistics:
    """Return statistics of as many images as a task keeps descriptors of."""
    folds = draw_folds(len(seen), RATE, 0)
    real = routing_statistics(base, seen, folds, config, 0)
    deviation = np.sqrt(np.diag(real.scatter) / (real.count - 1))
    rng = np.random.default_rng(place)
    drawn = rng.normal(real.mean, _SPREAD * deviation, (SAMPLES, len(real.mean)))
    return summarise(drawn, real.keys, real.key_distances)


def _export(learned: Sequence[Path], place: Path, precision: Literal["fp32", "uint8"]) -> None:
    """Add tasks to the bundle of a precision; nothing if it has them."""
    bundle = Bundle(bundle_of(place, precision))
    if bundle.exists() and len(bundle.manifest().tasks) >= len(learned):
        return
    plan = ExportPlan(
        precision=precision,
        backbone=f"llava:{place / 'base'}",
        explanations=False,
        calibration=None if precision == FLOAT else place / "stream.json",
    )
    export_artifacts(list(learned), bundle.path, plan, lambda what, done, total: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
