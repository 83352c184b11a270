import pytest
import torch
from torch.nn import functional

from cad_edge_training.methods.cmpmb.dimension_mapper import (
    block_metric,
    compat_1024,
    pooled_1024,
)


def test_distances_equal_those_after_pooling_to_1024():
    generator = torch.Generator().manual_seed(3)
    first, second = (
        torch.randn(n, 768, generator=generator, dtype=torch.float64) for n in (20, 30)
    )
    ucad = torch.cdist(
        functional.adaptive_avg_pool1d(first, 1024),
        functional.adaptive_avg_pool1d(second, 1024),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    ours = torch.cdist(
        compat_1024(first), compat_1024(second), compute_mode="donot_use_mm_for_euclid_dist"
    )
    torch.testing.assert_close(ours, ucad, atol=1e-12, rtol=1e-12)
    assert torch.equal(pooled_1024(first), functional.adaptive_avg_pool1d(first, 1024))


def test_the_metric_is_the_published_block():
    expected = [[1.25, 0.25, 0], [0.25, 0.5, 0.25], [0, 0.25, 1.25]]
    assert block_metric().tolist() == expected


def test_other_widths():
    assert compat_1024(torch.ones(2, 5, 6)).shape == (2, 5, 6)
    with pytest.raises(ValueError, match="no multiple"):
        compat_1024(torch.ones(2, 64))
