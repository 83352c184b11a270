"""Defective parts planted among good ones leave the test, and none is both."""

import numpy as np
import pytest

pytest.importorskip("torch")

from cad_edge_studies.contamination.__main__ import contaminate
from cad_edge_training.backbones import load_backbone
from tests.training.small_products import stream_of, write_product


def test_planted_parts_are_no_longer_tested(tmp_path):
    write_product(tmp_path, "checks", good=9, test=4)
    task = stream_of(tmp_path, ("checks",)).tasks[0]
    backbone = load_backbone("efficientnet-lite0", 64)
    mixed = contaminate(task, backbone, 0.1, seed=0)
    assert mixed.images.shape == (10, 64, 64, 3) and mixed.planted.tolist() == [False] * 9 + [True]
    assert len(mixed.test) == 7 and mixed.defective.sum() == 3
    planted = mixed.images[-1]
    assert not any(np.array_equal(planted, image) for image in mixed.test)
    clean = contaminate(task, backbone, 0.0, seed=0)
    assert len(clean.images) == 9 and not clean.planted.any() and len(clean.test) == 8
