import numpy as np
import pytest

from ghostfit.vision.rle import decode_mask, encode_mask


def random_masks():
    rng = np.random.default_rng(0)
    for number in range(300):
        mask = rng.random(rng.integers(1, 40, 2)) < rng.choice([0, 0.05, 0.5, 0.95, 1])
        if number % 3 == 0:  # a rectangle, which may fill whole columns
            mask[:] = False
            (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in mask.shape)
            mask[top:bottom, left:right] = True
        yield mask


def test_what_was_encoded_is_decoded():
    for mask in random_masks():
        np.testing.assert_array_equal(decode_mask(encode_mask(mask)), mask)


def test_the_text_is_that_of_cocos_own_tools():
    tools = pytest.importorskip("pycocotools.mask")
    for mask in random_masks():
        assert encode_mask(mask)["counts"] == tools.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


@pytest.mark.parametrize(
    "encoded",
    [
        {},
        {"size": [2], "counts": "04"},
        {"size": [2, 2], "counts": "05"},
        {"size": [2, 2], "counts": "0P"},
        {"size": [2, 2], "counts": "\x00"},
        {"size": [2, 2], "counts": "é"},
        {"size": [100_000, 100_000], "counts": "0"},
        {"size": [2, 2], "counts": "oooooooooooooooo0"},
    ],
)
def test_damaged_masks_are_refused(encoded):
    with pytest.raises(ValueError, match=r"mask|runs"):
        decode_mask(encoded)
