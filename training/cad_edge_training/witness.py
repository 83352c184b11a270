"""Witnesses: what the reference model answers on a few images when a task is learned."""

import numpy as np
import torch

from cad_edge.store.artifact import Tensors
from cad_edge_training.learned import Images, LearningRequest
from cad_edge_training.synthetic import synthetic_defects

WITNESSES = 4  # images of good parts, and as many with synthetic defects


def witness(model: torch.nn.Module, request: LearningRequest, seed: int) -> Tensors:
    """Answers of the reference model on some training images, plain and with synthetic defects."""
    index = np.linspace(0, len(request.images) - 1, WITNESSES).astype(np.int64)
    chosen = request.images[index]
    every_view = chosen.reshape(-1, *chosen.shape[-3:])
    defective, _ = synthetic_defects(every_view, seed)
    shown: Images = np.concatenate([chosen, defective.reshape(chosen.shape)])
    said: Tensors = {"image": shown}
    inputs = [torch.from_numpy(shown)]
    if request.depth is not None:
        said["depth"] = np.concatenate([request.depth[index], request.depth[index]])
        inputs.append(torch.from_numpy(said["depth"]))
    with torch.inference_mode():
        score, anomaly_map = model(*inputs)
    said["score"] = score.numpy()
    return said if anomaly_map is None else {**said, "anomaly_map": anomaly_map.numpy()}
