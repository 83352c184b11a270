"""Build anomalib's models and export them by its own exporter; runs in the peers' environment.

    python -m cad_edge_studies.peers.anomalib_models FRAMES THREADS KIND:SEED:FOLDER...

Latency, memory and file sizes depend on shapes and not on what the weights are, and pretrained
weights would have to be downloaded: the networks keep their random initialisation, except that
batch normalisations which start at zero start at one, so that nothing is a multiple of zero. A
bank is a random choice of the patches of ``FRAMES``. Thresholds and ranges are those of the frames,
so that the graphs hold anomalib's normalisation and its verdict.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from anomalib.deploy.export import CompressionType
from anomalib.models import EfficientAd, Padim, Patchcore, Stfpm
from anomalib.models.components import AnomalibModule, TimmFeatureExtractor
from anomalib.models.image.stfpm import torch_model as stfpm_model
from torch import Tensor, nn

BACKBONE = "resnet18"
LAYERS = ("layer2", "layer3")  # of PatchCore, anomalib's own choice
EFFICIENTAD_SIZE = (256, 256)
"""Its autoencoder cannot run on less, so its pre-processor enlarges the frames within the graph."""


def _options(kind: type[AnomalibModule], size: tuple[int, int]) -> dict[str, object]:
    """Options of every model: frames of ``size``, and nothing that only a training needs."""
    pre_processor = kind.configure_pre_processor(size)
    return {"pre_processor": pre_processor, "evaluator": False, "visualizer": False}


def build_patchcore(images: Tensor, size: int) -> AnomalibModule:
    """PatchCore with a bank of ``size`` patches of images (n, 3, height, width) in [0, 1]."""
    options = _options(Patchcore, _size_of(images))
    model = Patchcore(backbone=BACKBONE, layers=LAYERS, pre_trained=False, **options)
    _collect(_revived(model), images)
    patches = torch.vstack(model.model.embedding_store)
    model.model.embedding_store.clear()
    model.model.memory_bank = patches[torch.randperm(len(patches))[:size]].clone()
    if len(model.model.memory_bank) < size:
        raise ValueError(f"{len(images)} frames have {len(patches)} patches, too few for {size}")
    return model


def build_padim(images: Tensor) -> AnomalibModule:
    """PaDiM fitted to images (n, 3, height, width) in [0, 1]."""
    model = Padim(backbone=BACKBONE, pre_trained=False, **_options(Padim, _size_of(images)))
    _collect(_revived(model), images)
    model.model.fit()
    return model


def build_stfpm(images: Tensor) -> AnomalibModule:
    """STFPM for images (n, 3, height, width)."""
    # Its teacher asks for pretrained weights whatever it is told.
    with mock.patch.object(stfpm_model, "TimmFeatureExtractor", _untrained):
        return _revived(Stfpm(backbone=BACKBONE, **_options(Stfpm, _size_of(images))))


def build_efficientad(images: Tensor) -> AnomalibModule:
    """EfficientAD-S for images (n, 3, height, width), its statistics set to mean 0 and range 1."""
    model = EfficientAd(model_size="small", **_options(EfficientAd, EFFICIENTAD_SIZE))
    model.model.mean_std["std"].data.fill_(1.0)
    for name in ("qb_st", "qb_ae"):
        model.model.quantiles[name].data.fill_(1.0)
    return model


KINDS: dict[str, Callable[[Tensor], AnomalibModule]] = {
    "patchcore-1000": partial(build_patchcore, size=1000),
    "patchcore-10000": partial(build_patchcore, size=10000),
    "padim": build_padim,
    "stfpm": build_stfpm,
    "efficientad-s": build_efficientad,
}


def set_verdict(model: AnomalibModule, images: Tensor) -> None:
    """Give the post-processor range and threshold of images (n, 3, height, width)."""
    found = [model.model(model.pre_processor(image[None])) for image in images]
    scores = torch.stack([one.pred_score.amax() for one in found])
    peaks = torch.stack([one.anomaly_map.amax() for one in found])
    post = model.post_processor
    for values, kind in ((scores, "image"), (peaks, "pixel")):
        getattr(post, f"{kind}_min").copy_(values.min())
        getattr(post, f"{kind}_max").copy_(values.max())
        getattr(post, f"_{kind}_threshold").copy_(values.median())


def export_model(model: AnomalibModule, folder: Path, images: Tensor) -> None:
    """Export for torch, ONNX, OpenVINO, and OpenVINO in int8; one image of the size of ``images``.

    The batch is fixed: with anomalib's default, an open batch, PatchCore's ONNX is fixed at two
    images and refuses one.
    """
    size = _size_of(images)
    onnx: dict[str, object] = {"dynamic_axes": {}, "opset_version": 18}
    model.to_torch(folder)
    model.to_onnx(folder, input_size=size, **onnx)
    model.to_openvino(folder, input_size=size, onnx_kwargs=dict(onnx))
    model.to_openvino(
        folder / "int8",
        input_size=size,
        compression_type=CompressionType.INT8_PTQ,
        datamodule=_Calibration(images),
        onnx_kwargs=dict(onnx),
    )


class _Calibration:
    """The images on which anomalib's quantisation measures ranges, as a data module gives them."""

    train_batch_size = 1

    def __init__(self, images: Tensor) -> None:
        self._items = [{"image": image} for image in images]

    def setup(self, stage: str) -> None:
        """Prepare nothing; the images are in memory."""

    def val_dataloader(self) -> torch.utils.data.DataLoader[dict[str, Tensor]]:
        """One image after another."""
        return torch.utils.data.DataLoader(self._items, batch_size=1)  # type: ignore[arg-type]


def _untrained(
    backbone: str, layers: list[str], pre_trained: bool = False, requires_grad: bool = False
) -> nn.Module:
    """Make the feature extractor without downloading weights."""
    extractor: nn.Module = TimmFeatureExtractor(
        backbone, layers, pre_trained=False, requires_grad=requires_grad
    )
    return extractor


def _revived(model: AnomalibModule) -> AnomalibModule:
    """Set every scale of a batch normalisation to one; the last of each block starts at zero."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return model


def _collect(model: AnomalibModule, images: Tensor) -> None:
    """Have the model collect the patch features of images (n, 3, height, width)."""
    model.model.train()
    for image in images:
        model.model(model.pre_processor(image[None]))
    model.model.eval()


def _size_of(images: Tensor) -> tuple[int, int]:
    return int(images.shape[-2]), int(images.shape[-1])


def main(frames: str, threads: str, *orders: str) -> None:
    """Build and export what is ordered."""
    torch.set_num_threads(int(threads))
    pixels = torch.from_numpy(np.load(frames, allow_pickle=False))
    images = pixels.permute(0, 3, 1, 2).float() / 255
    for order in orders:
        kind, seed, folder = order.split(":", 2)
        torch.manual_seed(int(seed))
        with torch.no_grad():
            model = KINDS[kind](images)
            model.eval()
            set_verdict(model, images)
        export_model(model, Path(folder), images)


if __name__ == "__main__":
    main(*sys.argv[1:])
