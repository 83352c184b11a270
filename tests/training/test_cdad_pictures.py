"""AMN of the published form, which sees pictures: its shape, size and what it looks at."""

import torch
from torch.nn import functional

from cad_edge_training.methods.cdad.stable_diffusion.amn import ImageAMN, LocalEncoder


def published() -> ImageAMN:
    return ImageAMN(320, (32, 32), layers=8, heads=8, window=7).eval()


def test_at_256_pixels_it_is_as_wide_as_the_unet():
    image = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    with torch.no_grad():
        added, local = published()(image)
    assert added.shape == local.shape == (1, 320, 32, 32)


def test_parameters_by_hand():
    """Eight convolutions of nine places without bias; of each of eight layers four products of the
    attention, two of the feed-forward part and two norms."""
    local = 9 * (3 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 96 + 96 * 96 + 96 * 256 + 256 * 320)
    attention = 4 * (320 * 320 + 320)
    feed_forward = 320 * 1025 + 1025 + 1025 * 320 + 320
    layer = attention + feed_forward + 2 * (320 + 320)
    assert (local, layer) == (1_085_616, 1_069_505)
    amn = published()
    assert sum(one.numel() for one in amn.local.parameters()) == local
    assert sum(one.numel() for one in amn.parameters()) == local + 8 * layer == 9_641_656


def test_masked_cells_by_hand():
    """Of a window of 7: 49 within the grid, 28 at an edge, 16 in a corner."""
    bias = published().non_local.bias
    masked = torch.isinf(bias).sum(1).reshape(32, 32)
    assert (masked[16, 16], masked[0, 16], masked[16, 31], masked[0, 0]) == (49, 28, 28, 16)
    assert (masked[3:29, 3:29] == 49).all()
    # By axis 4 + 5 + 6 + 26 * 7 + 6 + 5 + 4 cells are near, together their square.
    assert masked.sum() == 212**2 == 44_944


def test_local_encoding_step_by_step():
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        encoder = LocalEncoder(24)
        image = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
        mean, deviation = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        z = ((image / 255 - mean) / deviation).permute(0, 3, 1, 2)
        weights = [one.weight for one in encoder.convs]
        for number, stride in enumerate((1, 1, 2, 1, 2, 1, 2, 1)):
            z = functional.conv2d(z, weights[number], stride=stride, padding=1)
            if number < 7:
                z = z * torch.sigmoid(z)
        torch.testing.assert_close(encoder(image), z, rtol=1e-4, atol=1e-5)
    assert [one.shape[0] for one in weights] == [16, 16, 32, 32, 96, 96, 256, 24]
