"""How well a base model decides, and describes, synthetic images that it was not trained on."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_studies.embedded_language_model.questions import DECISION, DESCRIBE
from cad_edge_studies.embedded_language_model.scenes import scene_pairs
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.questions import Question, decision, read

CHUNK = 8  # images at a time
LONGEST = 40  # tokens of a description


class Result(NamedTuple):
    """What a base model knows without having seen a product."""

    accuracy: float
    """Share of right decisions, half of the images being defective."""
    auroc: float
    """Area under the curve of the difference of the logits of Yes and No."""
    per_kind: dict[str, float]
    """Share of the defects of each kind that are answered with Yes."""
    described: dict[str, float]
    """Share of the defects whose description names the kind, the place, colour and part."""


def _rows(base: LlavaBase, images: NDArray[np.uint8], question: str) -> list[Tensor]:
    """Rows (n, n_rows, width) of a question about each image, some images at a time."""
    asked = Question.of(base, question)
    return [
        asked.around(base.image_tokens(base.look(torch.from_numpy(images[start : start + CHUNK]))))
        for start in range(0, len(images), CHUNK)
    ]


@torch.no_grad()
def yes_minus_no(base: LlavaBase, images: NDArray[np.uint8]) -> Tensor:
    """Difference (n,) of the logits of Yes and No for images (n, height, width, 3) uint8."""
    return torch.cat(
        [decision(base, read(base, rows)[:, -1]) for rows in _rows(base, images, DECISION)]
    )


@torch.no_grad()
def descriptions(base: LlavaBase, images: NDArray[np.uint8]) -> list[str]:
    """Greedy answers on what is wrong with images (n, height, width, 3) uint8."""
    model: Any = base.model
    texts = []
    for rows in _rows(base, images, DESCRIBE):
        answers = model.generate(
            inputs_embeds=rows,
            attention_mask=torch.ones(rows.shape[:2], dtype=torch.long),
            max_new_tokens=LONGEST,
            do_sample=False,
            eos_token_id=list(base.stop_ids),
            pad_token_id=base.stop_ids[0],
        )
        # What comes after the end of an answer is padding, special tokens as the end itself.
        texts += base.tokenizer.decode_batch(answers.tolist())
    return texts


def evaluate(base: LlavaBase, seed: int, pairs: int) -> Result:
    """Ask about ``pairs`` good and as many defective scenes of ``seed``."""
    scenes = scene_pairs(seed, 0, pairs)
    differences = yes_minus_no(base, np.stack([scene.image for scene in scenes])).numpy()
    defective = np.array([scene.defect is not None for scene in scenes])
    auroc = image_auroc(defective, differences)
    assert auroc is not None, "half of the scenes are defective"
    bad = [(scene, scene.defect) for scene in scenes if scene.defect is not None]
    answers: dict[str, list[bool]] = {}
    for (_, defect), difference in zip(bad, differences[defective], strict=True):
        answers.setdefault(defect.kind, []).append(bool(difference > 0))
    texts = descriptions(base, np.stack([scene.image for scene, _ in bad]))
    right: dict[str, list[bool]] = {"kind": [], "place": [], "colour": [], "part": []}
    for (scene, defect), text in zip(bad, texts, strict=True):
        right["kind"].append(f" {defect.kind} in the " in text)
        right["place"].append(f" in the {defect.place} of the " in text)
        right["colour"].append(f" of the {scene.colour} " in text)
        right["part"].append(text.endswith(f" {scene.name}."))
    return Result(
        accuracy=float(((differences > 0) == defective).mean()),
        auroc=auroc,
        per_kind={kind: float(np.mean(found)) for kind, found in sorted(answers.items())},
        described={what: float(np.mean(found)) for what, found in right.items()},
    )
