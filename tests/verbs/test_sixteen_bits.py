"""A data set of 16-bit gray is prepared over the range of its values, and so is what the bundle is asked about."""

from pathlib import Path

import numpy as np
from PIL import Image

from ghostfit.event import ignore
from ghostfit.verbs.material import read_material
from ghostfit.vision.prepare import Prepare


def test_the_range_travels_with_the_preparation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(20):
            pixels = rng.integers(500, 4500, (32, 32)).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    material = read_material(str(tmp_path), size_hw=(32, 32), seed=0, run=None, on_event=ignore)
    low, high = material.prepare.range_16
    assert 490 < low < 520 and 4480 < high < 4510
    assert len(np.unique(material.cached.images)) == 256
    again = Prepare.from_dict(material.prepare.to_dict())
    index = material.splits.test[0]
    image = again.resized(again.read(tmp_path / material.dataset.samples[index].id))
    assert np.array_equal(image, material.cached.images[index])
