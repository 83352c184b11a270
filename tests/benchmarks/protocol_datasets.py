"""Tiny datasets in published layouts: the folders and names are right, the images are grey."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge_benchmarks.protocol.study import Study
from cad_edge_benchmarks.protocol.task_sequence import TaskSequence, read_sequence

MVTEC = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw "
    "tile toothbrush transistor wood zipper"
)
VISA = "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"
MVTEC3D = "bagel cable_gland carrot cookie dowel foam peach potato rope tire"
EYECANDIES = (
    "CandyCane ChocolateCookie ChocolatePraline Confetto GummyBear HazelnutTruffle "
    "LicoriceSandwich Lollipop Marshmallow PeppermintCandy"
)
"""Class lists written out again, so that a slip in the sources is seen."""


def found(protocol: str, roots: Sequence[Path], **said: object) -> TaskSequence:
    """Find a published protocol in folders of datasets; ``said`` are further keys of a study."""
    return read_sequence(Study(study="s", stream=protocol, learners={"a": {}}, **said), roots)


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
    """Write classes as MVTec 3D-AD is published: four training parts and one for validation."""
    for number, name in enumerate(names):
        train = [f"train/good/{{}}/{image:03d}" for image in range(4)]
        test = [f"test/{kind}/{{}}/000" for kind in ("good", "hole")]
        for place in (*train, "validation/good/{}/000", *test):
            write_image(root / name / f"{place.format('rgb')}.png", number)
            write_cloud(root / name / f"{place.format('xyz')}.tiff")
        for place in test:
            write_image(root / name / f"{place.format('gt')}.png", 255 * ("hole" in place))
    return root


def write_cloud(path: Path) -> None:
    """Write a 16 x 16 point cloud, half a metre away."""
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full((16, 16, 3), 0.5, np.float32), photometric="rgb")


def write_eyecandies(root: Path, names: Sequence[str]) -> Path:
    """Write classes as Eyecandies is published: four training parts and one for validation."""
    for number, name in enumerate(names):
        train = [f"train/data/{image:03d}" for image in range(4)]
        test = [f"test_public/data/{image:02d}" for image in range(2)]
        for place in (*train, "val/data/00", *test):
            part = root / name / place
            write_image(part.with_name(f"{part.name}_image_4.png"), number)
            depth = np.full((16, 16), 9, np.uint16)
            Image.fromarray(depth).save(part.with_name(f"{part.name}_depth.png"))
            info = part.with_name(f"{part.name}_info_depth.yaml")
            info.write_text("normalization: {min: 0.5, max: 0.7}\n")
        for image, part in enumerate(root / name / place for place in test):
            write_image(part.with_name(f"{part.name}_mask.png"), 255 * image)
            labels = part.with_name(f"{part.name}_metadata.yaml")
            labels.write_text(f"anomalous: {image}\nanomalous_dents: {image}\n")
    return root
