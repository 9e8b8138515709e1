"""16-bit gray: the range is found in the images that are learnt from, and applied wherever they are read."""

import io

import numpy as np
import pytest
from PIL import Image

from ghostfit.data.cache import build_cache
from ghostfit.data.check import check
from ghostfit.data.facts import measure_images, range_16_of
from ghostfit.data.readers import read_dataset
from ghostfit.vision.prepare import RANGE_16, Prepare


def content_of(values):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "TIFF")
    return stream.getvalue()


def scene(seed, low, high):
    """Smooth noise in a range of values; none is like another."""
    noise = np.random.default_rng(seed).random((6, 6)).astype(np.float32)
    large = np.asarray(Image.fromarray(noise).resize((48, 48), Image.Resampling.BICUBIC))
    return (low + (high - low) * np.clip(large, 0, 1)).astype(np.uint16)


@pytest.fixture
def set_of(make_folder):
    def make(low, high, extra=None):
        files = {
            f"{label}/{i}.tif": content_of(scene(i + 50 * (label == "b"), low, high))
            for label in "ab"
            for i in range(6)
        }
        return read_dataset(make_folder(files | (extra or {})))

    return make


def test_the_range_of_a_camera_of_12_bits(set_of):
    dataset = set_of(100, 4000)
    facts = measure_images(dataset, in_memory=True)
    low, high = range_16_of(facts, range(len(dataset)))
    assert 100 <= low < 300 and 3800 < high <= 4000
    found = {finding.id for finding in check(dataset, facts=facts).findings}
    assert "GF204" in found and not found & {"GF303", "GF501", "GF503", "GF505"}, "told apart, not all black"


def test_the_cache_holds_the_steps_of_the_range(set_of, tmp_path):
    dataset = set_of(100, 4000)
    plain = Prepare(size_hw=(48, 48))
    wide = Prepare(size_hw=(48, 48), range_16=(100, 4000))
    levels = [len(np.unique(build_cache(dataset, prepare, cache_dir=tmp_path).images)) for prepare in (plain, wide)]
    assert levels[0] <= 16 and levels[1] > 200


def test_dark_images_are_no_copies_of_each_other(set_of):
    dataset = set_of(3, 250)  # all of their high bytes are zero
    facts = measure_images(dataset, in_memory=True)
    assert len(set(facts.table["pixel_hash"].tolist())) == len(dataset) and facts.near == ()


def test_images_that_fill_their_bits_keep_the_high_byte(set_of, dataset_of):
    dataset = set_of(0, 65535)
    assert range_16_of(measure_images(dataset, in_memory=True), range(len(dataset))) == RANGE_16
    eight = dataset_of([0, 1, 0, 1])
    assert range_16_of(measure_images(eight, in_memory=True), range(4)) == RANGE_16


def test_blank_images_and_those_left_out_of_the_count(set_of):
    blank = {"a/blank.tif": content_of(np.full((48, 48), 65535, np.uint16))}
    dataset = set_of(100, 4000, blank)
    facts = measure_images(dataset, in_memory=True)
    index = [sample.id for sample in dataset.samples].index("a/blank.tif")
    assert range_16_of(facts, [index]) == (65534, 65535)
    assert range_16_of(facts, [i for i in range(len(dataset)) if i != index])[1] <= 4000
    assert range_16_of(facts, []) == RANGE_16
