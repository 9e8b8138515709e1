"""A result drawn on its image, for people to look at.

>>> from ghostfit.vision.decode import decode_classification
>>> result = decode_classification(np.array([[2.0, 0.0]]), class_names=("cat", "dog"))[0]
>>> annotate(np.zeros((40, 60, 3), np.uint8), result).shape[1:]
(60, 3)
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ghostfit.vision.results import Classification

SURE = (22, 101, 52)
UNSURE = (146, 64, 14)


def annotate(image: np.ndarray, result: Classification) -> np.ndarray:
    """A copy of `image` (H, W, 1 or 3), uint8, with a bar below that says label and probability: (H + bar, W, 3).

    The bar is green; for an unsure result amber, and it ends with a question mark. No pixel of the image is covered.
    """
    height, width = image.shape[:2]
    size = max(10, min(36, width // 14))
    font = ImageFont.load_default(size)
    text = f"{result.label} {result.confidence:.0%}" + (" ?" if result.is_unsure else "")
    while size > 6 and font.getlength(text) > width - size:
        size -= 1
        font = ImageFont.load_default(size)
    bar = 2 * size
    canvas = Image.new("RGB", (width, height + bar), UNSURE if result.is_unsure else SURE)
    canvas.paste(Image.fromarray(image if image.shape[2] == 3 else image.repeat(3, axis=2)), (0, 0))
    ImageDraw.Draw(canvas).text((size // 2, height + bar // 2), text, fill="white", font=font, anchor="lm")
    return np.array(canvas)
