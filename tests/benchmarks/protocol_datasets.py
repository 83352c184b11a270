"""Tiny datasets in published layouts: the folders and names are right, the images are grey."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

MVTEC = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw "
    "tile toothbrush transistor wood zipper"
)
VISA = "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"
MVTEC3D = "bagel cable_gland carrot cookie dowel foam peach potato rope tire"
"""Class lists written out again, so that a slip in the sources is seen."""


def write_image(path: Path, value: int = 0) -> Path:
    """Write a 16 x 16 grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(path)
    return path


def write_mvtec(root: Path, names: Sequence[str], defects: bool = True) -> Path:
    """Write classes in the MVTec AD layout: five training images, one test image of each kind."""
    for number, name in enumerate(names):
        for image in range(5):
            write_image(root / name / f"train/good/{image:03d}.png", number)
        write_image(root / name / "test/good/000.png", number)
        if defects:
            write_image(root / name / "test/hole/000.png", number)
            write_image(root / name / "ground_truth/hole/000_mask.png", 255)
    return root


def write_visa(root: Path, names: Sequence[str], train: int = 5) -> Path:
    """Write classes in the VisA layout."""
    rows = ["object,split,label,image,mask"]
    for name in names:
        data = f"{name}/Data"
        for image in range(train):
            write_image(root / f"{data}/Images/Normal/{image:04d}.png")
            rows.append(f"{name},train,normal,{data}/Images/Normal/{image:04d}.png,")
        write_image(root / f"{data}/Images/Normal/9000.png")
        rows.append(f"{name},test,normal,{data}/Images/Normal/9000.png,")
        write_image(root / f"{data}/Images/Anomaly/000.png")
        write_image(root / f"{data}/Masks/Anomaly/000.png", 255)
        rows.append(
            f"{name},test,anomaly,{data}/Images/Anomaly/000.png,{data}/Masks/Anomaly/000.png"
        )
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(rows) + "\n")
    return root


def write_mvtec3d(root: Path, names: Sequence[str]) -> Path:
    """Write classes as MVTec 3D-AD is published; the point clouds are no images."""
    for number, name in enumerate(names):
        for image in range(5):
            write_image(root / name / f"train/good/rgb/{image:03d}.png", number)
            cloud = root / name / f"train/good/xyz/{image:03d}.tiff"
            cloud.parent.mkdir(parents=True, exist_ok=True)
            cloud.write_bytes(b"a point cloud")
        write_image(root / name / "validation/good/rgb/000.png", number)
        for kind in ("good", "hole"):
            write_image(root / name / f"test/{kind}/rgb/000.png", number)
            write_image(root / name / f"test/{kind}/gt/000.png", 255 * (kind == "hole"))
    return root
