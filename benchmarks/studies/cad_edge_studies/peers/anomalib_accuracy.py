r"""Scores and maps of anomalib's PatchCore on our trunk; runs in the peers' environment.

    python -m cad_edge_studies.peers.anomalib_accuracy \
        WEIGHTS REFERENCE FOLDER SEED THREADS BANK...

PatchCore is anomalib's: extractor by timm, pooling, coreset, neighbours, re-weighted score, map.
Only the weights are ours, those of EfficientNet-Lite0 in ``WEIGHTS``, and the normalisation that
belongs to them. That the extractor then gives the features of ``REFERENCE`` is checked first.

``FOLDER/<category>/train.npy`` and ``test.npy`` are (n, height, width, 3) uint8 and are read;
``FOLDER/<category>/scores-<bank>.npy`` (n_test,) and ``maps-<bank>.npy`` (n_test, height, width)
float32 are written, for every number of patches in ``BANK``.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from anomalib.models.components import KCenterGreedy
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from safetensors.numpy import load_file
from torch import Tensor

# timm's variant with TensorFlow's padding and epsilon, which are those of the weights.
BACKBONE = "tf_efficientnet_lite0"
LAYERS = ("blocks.2", "blocks.4")
"""The stages whose last blocks are our blocks 4 (40 x size/8) and 10 (112 x size/16)."""
TOLERANCE = 1e-4  # of the largest feature
BATCH = 16


class Coreset(KCenterGreedy):  # type: ignore[misc]  # mypy runs without anomalib
    """anomalib's greedy choice with its own arithmetic, in one buffer.

    It takes and gives back a copy of all features per step. At 30 MB glibc's heap keeps a hole for
    each, a thousand of which are more than the machine has; above that most time goes into pages.
    """

    min_distances: Tensor | None
    _buffer: Tensor | None = None

    def update_distances(self, cluster_center: Tensor) -> None:
        """Lower every patch's distance to its nearest chosen one by the newly chosen."""
        if self._buffer is None:
            self._buffer = torch.empty_like(self.features)
        torch.sub(self.features, self.features[cluster_center].squeeze(), out=self._buffer)
        found = torch.linalg.norm(self._buffer, ord=2, dim=1, keepdim=True)
        known = self.min_distances
        self.min_distances = found if known is None else torch.minimum(known, found)


def load_trunk(model: PatchcoreModel, weights: Path) -> None:
    """Put the published weights into the extractor of ``model``.

    Both list their layers as they are computed, so tensors go by place and not by name; one in the
    wrong place has another shape, or other features in `check_features`.
    """
    published = torch.load(weights, map_location="cpu", weights_only=True)
    trunk = model.feature_extractor.feature_extractor
    theirs, ours = (
        [name for name in state if "num_batches_tracked" not in name]
        for state in (trunk.state_dict(), published)
    )
    # The extractor ends before the last blocks.
    state = {name: published[ours[place]] for place, name in enumerate(theirs)}
    trunk.load_state_dict(state, strict=False)


def normalise(frames: npt.NDArray[np.uint8]) -> Tensor:
    """Map frames (n, height, width, 3) uint8 to (x - 127) / 128, (n, 3, height, width) float32."""
    return (torch.from_numpy(frames).permute(0, 3, 1, 2).float() - 127) / 128


def check_features(model: PatchcoreModel, reference: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Compare the extractor with features (1, channels, rows, columns) of ``reference["image"]``.

    Raises
    ------
    ValueError
        They differ, so the trunks are not the same.
    """
    features = model.feature_extractor(normalise(reference["image"].astype(np.uint8)))
    for layer in LAYERS:
        ours = torch.from_numpy(reference[layer])
        difference = float((features[layer] - ours).abs().max() / ours.abs().max())
        if difference > TOLERANCE:
            raise ValueError(f"{layer} differs from our trunk by {difference:.1e} of its range")


def learn(
    model: PatchcoreModel, train: npt.NDArray[np.uint8], size: int, seed: int
) -> list[Tensor]:
    """Choose a bank from train frames (n, height, width, 3) as anomalib does; in order of choice.

    Greedy selection is nested: the first k of ``size`` patches are what it chooses for k.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # anomalib's random projection draws from it
    model.train()
    for start in range(0, len(train), BATCH):
        model(normalise(train[start : start + BATCH]))
    patches = torch.vstack(model.embedding_store)
    model.embedding_store.clear()
    # Half a patch more, because anomalib cuts the product of ratio and number down.
    sampler = Coreset(patches, min(1.0, (size + 0.5) / len(patches)))
    return list(sampler.sample_coreset())


def judge(
    model: PatchcoreModel, test: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scores (n,) and maps (n, height, width) float32 of test frames (n, height, width, 3)."""
    model.eval()
    found = [model(normalise(frame[None])) for frame in test]
    scores = torch.cat([one.pred_score for one in found])
    maps = torch.cat([one.anomaly_map[:, 0] for one in found])
    return scores.numpy(), maps.numpy()


def measure(model: PatchcoreModel, folder: Path, banks: Sequence[int], seed: int) -> None:
    """Learn one category, judge its test frames with every bank, write scores and maps."""
    bank = torch.stack(learn(model, np.load(folder / "train.npy"), max(banks), seed))
    test = np.load(folder / "test.npy")
    for size in banks:
        model.memory_bank = bank[:size].clone()
        scores, maps = judge(model, test)
        np.save(folder / f"scores-{size}.npy", scores)
        np.save(folder / f"maps-{size}.npy", maps)
    model.memory_bank = torch.empty(0)


def main(weights: str, reference: str, folder: str, seed: str, threads: str, *banks: str) -> None:
    """Measure every category below ``folder``."""
    torch.set_num_threads(int(threads))
    model = PatchcoreModel(layers=LAYERS, backbone=BACKBONE, pre_trained=False)
    load_trunk(model, Path(weights))
    with torch.inference_mode():
        check_features(model, load_file(reference))
        for category in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
            measure(model, category, [int(bank) for bank in banks], int(seed))


if __name__ == "__main__":
    main(*sys.argv[1:])
