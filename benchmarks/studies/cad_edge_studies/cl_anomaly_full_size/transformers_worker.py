"""A worker that answers by transformers in torch and float32, as a Python program would.

    python -m cad_edge_studies.cl_anomaly_full_size.transformers_worker BASE PROMPT FRAMES THREADS

What favours it: no processor, one tile, the logits of the last position alone, no cache, weights
mapped from the file, and no expert beside any linear.
"""

import json
import sys
from pathlib import Path

from cad_edge_benchmarks.instruments.inspection_worker import (
    Answer,
    Frame,
    Inspect,
    answer_inspections,
)
from cad_edge_benchmarks.instruments.worker_loop import claim_output


def open_model(base: Path, prompt: Path, threads: int) -> Inspect:
    """Load a base model and the prompt that `build` wrote."""
    import torch
    from transformers import LlavaOnevisionForConditionalGeneration

    torch.set_num_threads(threads)
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(
        base, dtype=torch.float32, low_cpu_mem_usage=True, attn_implementation="sdpa"
    ).eval()
    said = json.loads(prompt.read_text(encoding="utf-8"))
    ids = torch.tensor([said["ids"]])

    def inspect(frame: Frame, task: str | None) -> Answer:
        with torch.inference_mode():
            pixels = torch.from_numpy(frame).permute(2, 0, 1).float() / 127.5 - 1.0
            found = model(
                input_ids=ids,
                pixel_values=pixels[None],
                image_sizes=torch.tensor([frame.shape[:2]]),
                # A single image would be cut into tiles; of several, each is one.
                batch_num_images=torch.tensor([2]),
                logits_to_keep=1,
                use_cache=False,
            )
            yes, no = (found.logits[0, -1, said[word]].logsumexp(0) for word in ("yes", "no"))
        return Answer("anomalous" if yes > no else "normal", None)

    return inspect


def main(base: str, prompt: str, frames: str, threads: str) -> None:
    """Load the model and answer."""
    output = claim_output()
    answer_inspections(frames, [open_model(Path(base), Path(prompt), int(threads))], output)


if __name__ == "__main__":
    main(*sys.argv[1:])
