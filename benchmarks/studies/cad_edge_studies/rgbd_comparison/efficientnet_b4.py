"""EfficientNet-B4 with random weights, as transformers saves it; time is that of any weights."""

from pathlib import Path

SEED = 0


def write_b4(folder: Path) -> Path:
    """Write it, unless it is there; the images that it is shown are cad-edge's business."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from transformers import EfficientNetConfig, EfficientNetModel

    torch.manual_seed(SEED)
    config = EfficientNetConfig(
        image_size=380, width_coefficient=1.4, depth_coefficient=1.8, hidden_dim=1792
    )
    EfficientNetModel(config).save_pretrained(folder)
    return folder
