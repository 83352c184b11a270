"""Two constant matrices do what interpolation and a Gaussian filter do."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from cad_edge_training.gaussian import gaussian_matrix, map_matrix, resize_matrix, smooth

SIZES = [((14, 14), (224, 224)), ((28, 28), (256, 256)), ((4, 7), (64, 96)), ((3, 5), (20, 13))]


def interpolated(patches: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(patches)[:, None]
    return functional.interpolate(tensor, size, mode="bilinear", align_corners=False)[:, 0].numpy()


@pytest.mark.parametrize(("cells", "size"), SIZES)
def test_resize_matrices_are_bilinear_interpolation(cells, size, rng):
    patches = rng.normal(size=(3, *cells))
    rows, columns = resize_matrix(size[0], cells[0]), resize_matrix(size[1], cells[1])
    np.testing.assert_allclose(rows @ patches @ columns.T, interpolated(patches, size), atol=1e-12)


def test_resize_to_the_same_size_changes_nothing():
    np.testing.assert_array_equal(resize_matrix(14, 14), np.eye(14))


def test_resize_of_a_single_cell_repeats_it():
    np.testing.assert_array_equal(resize_matrix(5, 1), np.ones((5, 1)))


# 1.5 on 9 samples: the kernel reaches beyond the border; 4 on 3: it is mirrored more than once.
@pytest.mark.parametrize(
    ("size", "deviation"), [(224, 4.0), (256, 5.0), (9, 1.5), (3, 4.0), (1, 2.0), (50, 0.3)]
)
def test_gaussian_matrix_is_scipys_filter(size, deviation, rng):
    values = rng.normal(size=(size, size))
    matrix = gaussian_matrix(size, deviation)
    expected = gaussian_filter(values, deviation)
    np.testing.assert_allclose(matrix @ values @ matrix.T, expected, atol=1e-12)


@pytest.mark.parametrize("deviation", [0.0, 0.5, 4.0, 60.0])
def test_smoothing_keeps_a_constant(deviation):
    np.testing.assert_allclose(gaussian_matrix(40, deviation).sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("deviation", [1.0, 4.0])
@pytest.mark.parametrize(("cells", "size"), SIZES)
def test_map_matrices_resize_and_smooth_in_one_product(cells, size, deviation, rng):
    patches = rng.uniform(0, 1, (2, *cells))
    rows = map_matrix(size[0], cells[0], deviation)
    columns = map_matrix(size[1], cells[1], deviation)
    assert rows.dtype == np.float32 and rows.shape == (size[0], cells[0])
    expected = [gaussian_filter(one, deviation) for one in interpolated(patches, size)]
    got = rows.astype(np.float64) @ patches @ columns.astype(np.float64).T
    np.testing.assert_allclose(got, np.stack(expected), atol=1e-6)
    reference = smooth(torch.from_numpy(patches).float(), size, deviation)
    assert reference.dtype == torch.float32
    np.testing.assert_allclose(reference.numpy(), np.stack(expected), atol=1e-6)


def test_no_smoothing_is_interpolation_alone(rng):
    patches = rng.uniform(0, 1, (2, 6, 6))
    got = smooth(torch.from_numpy(patches), (48, 48), 0.0)
    np.testing.assert_allclose(got.numpy(), interpolated(patches, (48, 48)), atol=1e-12)
    matrix = map_matrix(48, 6, 0.0)
    np.testing.assert_allclose(matrix @ patches @ matrix.T, got.numpy(), atol=1e-6)
