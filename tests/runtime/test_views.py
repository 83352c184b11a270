"""A bundle that looks at one picture of a part, given several, and frames of several views."""

import numpy as np
import pytest

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import BundleError, ImageError
from cad_edge_runtime import Detector
from cad_edge_runtime.frames import image_batch, read_frame


@pytest.fixture
def red(frames) -> np.ndarray:
    return frames["red.good"]


def test_several_pictures_for_a_bundle_of_one(bundle, red):
    with Detector.open(bundle, device="cpu", watch=False) as detector:
        assert detector.views == 1
        with pytest.raises(ImageError, match=r"2 pictures were given as one frame, .* give one$"):
            detector.detect([red[0], red[1]])
        with pytest.raises(ImageError, match=r"image 1: 2 pictures were given as one frame"):
            detector.detect_batch([red[0], (red[0], red[1])])
        alone, listed = detector.detect(red[0]), detector.detect([red[0]])
        assert (alone.task, alone.score) == (listed.task, listed.score)


def test_a_list_of_numbers_is_no_frame_of_views(bundle):
    with (
        Detector.open(bundle, device="cpu", watch=False) as detector,
        pytest.raises(ImageError, match="the image is a list; give a numpy array"),
    ):
        detector.detect([[1, 2], [3, 4]])


def test_views_of_a_frame_stay_together_and_in_their_order(red, rng):
    recipe = ImageRecipe(width=16, height=16)
    shown = rng.integers(0, 256, (2, 3, 20, 24, 3), dtype=np.uint8)
    batch = image_batch([read_frame(list(one), None, 3) for one in shown], recipe)
    expected = [recipe.apply(view) for one in shown for view in one]
    np.testing.assert_array_equal(batch, np.stack(expected))
    frame = read_frame((red[0], shown[0, 0]), None, 2)
    assert frame.size == (32, 32) and image_batch([frame], recipe).shape == (2, 16, 16, 3)


def test_a_frame_is_taken_out_of_a_batch_with_all_its_views(bundle):
    """Of what is computed of single images; frames lie behind each other in a batch."""
    with Detector.open(bundle, device="cpu", watch=False) as detector:
        chain = detector._snapshot.tasks["red"].chain
    chain.views = 2
    taken = chain.rows({chain.image: np.arange(8)}, [3, 1])
    assert taken[chain.image].tolist() == [6, 7, 2, 3]


def test_tasks_that_look_at_different_numbers_of_views_are_not_opened(bundle, workshop):
    workshop.change_task(
        "red",
        lambda entry: entry.model_copy(
            update={"engine": entry.engine.model_copy(update={"views": 3})}
        ),
    )
    with pytest.raises(BundleError, match=r"look at 1 and 3 views of a frame, where all must"):
        Detector.open(bundle, device="cpu", watch=False)
