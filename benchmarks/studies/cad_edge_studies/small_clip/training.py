"""Image and text tower learn from scratch which caption belongs to which scene."""

import time
from collections.abc import Callable

import torch
from torch import nn
from transformers import CLIPModel, CLIPTokenizer

from cad_edge_studies.embedded_language_model.scenes import scene_pairs
from cad_edge_studies.embedded_language_model.training_loop import CLIP, PretrainingPlan
from cad_edge_studies.small_clip.captions import caption
from cad_edge_studies.small_clip.model import contrastive_loss, new_model, pixels_of, similarities

PLAN = PretrainingPlan(steps=600, minutes=20, pairs=32, rate=1e-3, warm_up=30, decay=0.05)
REPORTED = 20  # steps


def train(
    tokenizer: CLIPTokenizer, plan: PretrainingPlan, report: Callable[[str], None]
) -> tuple[CLIPModel, int]:
    """Train from scratch; return the model and the steps that the time sufficed for."""
    model = new_model(tokenizer, plan.seed).train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay
    )
    start = time.monotonic()
    for step in range(plan.steps):
        if time.monotonic() - start > 60 * plan.minutes:
            return model.eval(), step
        scenes = scene_pairs(plan.seed, step * plan.pairs, plan.pairs)
        texts = [caption(scene) for scene in scenes]
        loss = contrastive_loss(similarities(model, tokenizer, pixels_of(scenes), texts), texts)
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        if (step + 1) % REPORTED == 0:
            report(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - start:.0f} s")
    return model.eval(), plan.steps
