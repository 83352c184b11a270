"""Features of our trunk for one frame, to compare another's with; a process of its own, with torch.

    python -m cad_edge_studies.peers.reference_features FRAMES TARGET

writes ``TARGET`` (.safetensors) with ``image`` (1, height, width, 3) uint8, the first of
``FRAMES``, and the outputs (1, channels, rows, columns) float32 of blocks 4 and 10 under timm's
names of their stages; prints the path of the trunk's weights.
"""

import sys

import numpy as np
from safetensors.numpy import save_file

BLOCKS = {"blocks.2": 4, "blocks.4": 10}
"""Our block that ends each of timm's stages."""


def main(frames: str, target: str) -> None:
    """Run the trunk."""
    import torch

    from cad_edge_training.backbones.efficientnet_lite0 import load, weights_path

    image = np.load(frames, mmap_mode="r", allow_pickle=False)[:1].copy()
    trunk = load(image.shape[1])
    with torch.inference_mode():
        states = trunk.run(trunk.normalise(torch.from_numpy(image)), max(BLOCKS.values()))
    # safetensors writes the bytes as they lie, and torch may keep the channels last.
    features = {name: np.ascontiguousarray(states[block]) for name, block in BLOCKS.items()}
    save_file({"image": image} | features, target)
    sys.stdout.write(f"{weights_path()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
