import numpy as np
import pytest

from ghostfit.vision.decode import decode_classification
from ghostfit.vision.draw import annotate


@pytest.mark.parametrize("size_hw", [(1, 1), (8, 8), (32, 32), (300, 700), (200, 20)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_bar_stands_below_and_the_image_is_kept(size_hw, channels, threshold):
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, channels), np.uint8)
    name = "a very long class name, größer als das Bild"
    result = decode_classification(np.zeros((1, 2)), class_names=(name, "b"), threshold=threshold)[0]
    drawn = annotate(image, result)
    assert drawn.shape[0] > size_hw[0]
    assert drawn.shape[1:] == (size_hw[1], 3)
    np.testing.assert_array_equal(drawn[: size_hw[0]], np.broadcast_to(image, (*size_hw, 3)))
