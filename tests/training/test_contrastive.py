import math

import pytest
import torch

from cad_edge_training.methods.cmpmb.contrastive import structural_contrastive_loss


def by_loops(features, regions, temperature, form):
    total = 0.0
    batch, n, _ = features.shape
    for image in range(batch):
        for i in range(n):
            for j in range(n):
                a, b = features[image, i], features[image, j]
                cosine = float(a @ b / (a.norm() * b.norm()))
                same = bool(regions[image, i] == regions[image, j])
                if form == "paper":
                    total += -cosine if same else cosine
                else:
                    total += -cosine / temperature if same else math.exp(cosine / temperature)
    return total / batch / (1 if form == "paper" else n * n)


@pytest.mark.parametrize("form", ["bounded", "paper"])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_loss_equals_loops_over_pairs(form, temperature):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    regions = torch.randint(0, 3, (2, 7), generator=generator)
    got = structural_contrastive_loss(features, regions, temperature, form)
    assert float(got) == pytest.approx(by_loops(features, regions, temperature, form), abs=1e-12)


def test_two_patches_by_hand():
    """Right angles, another region: -1/T on the diagonal, exp(0) beside it."""
    features = torch.tensor([[[3.0, 0.0], [0.0, 0.1]]])
    apart, together = torch.tensor([[1, 2]]), torch.tensor([[4, 4]])
    assert structural_contrastive_loss(features, apart).item() == pytest.approx((-4 + 2) / 4)
    assert structural_contrastive_loss(features, together).item() == pytest.approx(-4 / 4)
    paper = structural_contrastive_loss(features, apart, form="paper")
    assert paper.item() == pytest.approx(-2)


def test_bounds_and_scale():
    features = torch.ones(1, 4, 3)
    same, different = torch.zeros(1, 4, dtype=torch.int64), torch.arange(4)[None]
    assert structural_contrastive_loss(features, same).item() == pytest.approx(-2)
    expected = (4 * -2 + 12 * math.exp(2)) / 16
    assert structural_contrastive_loss(features, different).item() == pytest.approx(expected)
    assert structural_contrastive_loss(50 * features, same).item() == pytest.approx(-2)


def test_shapes_that_do_not_belong_together():
    with pytest.raises(ValueError, match="differ in"):
        structural_contrastive_loss(torch.ones(1, 4, 3), torch.zeros(1, 5, dtype=torch.int64))
