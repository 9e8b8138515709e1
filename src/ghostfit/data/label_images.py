"""Images that are labels: the values of their pixels, and the legend that makes classes of them.

>>> legend = Legend.of_values(3, ignore=(11,))
>>> legend.classes_of(np.array([[0, 2, 11, 255]])).tolist()
[[0, 2, 255, 255]]
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ghostfit.vision.objects import IGNORE
from ghostfit.vision.prepare import FORMATS, MAX_PIXELS, reason_of

if TYPE_CHECKING:
    from ghostfit.data.dataset import Source

MAX_CLASSES = 255  # class indices of a map are 0..254; 255 is no label
LABEL_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM")  # without loss: in a JPEG the values would be changed
TURNED = (5, 6, 7, 8)  # EXIF orientations that change width and height
ORIENTATION_TAG = 0x0112


class LabelError(ValueError):
    """A label that can't be used; `kind` is the id of its finding."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind

    def __reduce__(self) -> tuple[type[LabelError], tuple[str, str]]:
        return LabelError, (self.kind, str(self))


@dataclass(frozen=True, slots=True)
class Legend:
    """How the pixels of a label image become classes: by value, or by colour when there are `colours`.

    `classes` maps a value to a class; `colours` does so for a colour as 65536 * red + 256 * green + blue.
    """

    classes: Mapping[int, int]
    colours: Mapping[int, int]
    num_classes: int

    @classmethod
    def of_values(cls, num_classes: int, ignore: Sequence[int] = ()) -> Legend:
        """Values are classes; those in `ignore`, and 255, are no label."""
        classes = {value: value for value in range(num_classes)}
        return cls(classes | dict.fromkeys((*ignore, IGNORE), IGNORE), {}, num_classes)

    @classmethod
    def of_colours(cls, colours: Mapping[tuple[int, int, int], int], num_classes: int) -> Legend:
        """Colours (red, green, blue) -> class, or 255 for no label."""
        codes = {(red << 16) + (green << 8) + blue: number for (red, green, blue), number in colours.items()}
        return cls({}, codes, num_classes)

    def classes_of(self, values: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Class map (H, W) of the values or colour codes (H, W). Raises LabelError on one that the legend lacks."""
        table = self.colours or self.classes
        known = np.array(sorted(table), np.int64)
        places = np.searchsorted(known, values).clip(0, len(known) - 1)
        is_unknown = known[places] != values
        if is_unknown.any():
            raise LabelError("GF612", self._unknown_text(values[is_unknown]))
        class_map: NDArray[np.uint8] = np.array([table[key] for key in known.tolist()], np.uint8)[places]
        return class_map

    def stamp(self) -> str:
        """Changes when the legend does."""
        return f"{sorted((self.colours or self.classes).items())}"

    def _unknown_text(self, values: NDArray[np.int64]) -> str:
        value = int(values[0])
        what = f"the colour {value >> 16},{value >> 8 & 255},{value & 255}" if self.colours else f"the value {value}"
        return f"{what} in {len(values)} pixels is none of the {self.num_classes} classes and not to be ignored"


def read_values(source: Source, *, colours: bool = False) -> NDArray[np.int64]:
    """The pixels (H, W) of a label image: its values, palette indices, or with `colours` codes of 24 bits.

    Raises LabelError when it is no image of a format without loss, has colours that mean nothing, or is too large.
    """
    try:
        content = source.read()
        if not isinstance(content, bytes):
            return np.asarray(content, np.int64)
        if not content:
            raise LabelError("GF611", "the file is empty (0 bytes)")
        with Image.open(io.BytesIO(content), formats=LABEL_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise LabelError("GF611", f"{image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are read")
            return _colour_codes(image) if colours else _values_of(image)
    except LabelError:
        raise
    except FileNotFoundError as error:
        raise LabelError("GF611", "no such file") from error
    except Exception as error:  # decoders meet damaged data with nearly any exception
        raise LabelError("GF611", f"no readable label image: {reason_of(error)}") from error


def read_size_hw(source: Source) -> tuple[int, int]:
    """Height and width of an image when it is upright; reads only its header. Raises ValueError when it has none."""
    if (known := getattr(source, "size_hw", None)) is not None:  # of images that are painted
        return int(known[0]), int(known[1])
    try:
        place: Any = getattr(source, "path", None)
        if place is None:
            content = source.read()
            if not isinstance(content, bytes):
                return int(content.shape[0]), int(content.shape[1])
            place = io.BytesIO(content)
        with Image.open(place, formats=_image_formats()) as image:
            # A PNG's own EXIF may lie behind its pixels, and would cost decoding them: only what is in front counts.
            is_turned = image.format != "PNG" or "exif" in image.info
            turn = int(image.getexif().get(ORIENTATION_TAG, 1)) if is_turned else 1
            return (image.width, image.height) if turn in TURNED else (image.height, image.width)
    except Exception as error:  # as above
        raise ValueError(f"its image can't be read: {reason_of(error)}") from error


def check_size(label_hw: tuple[int, ...], image_hw: tuple[int, int]) -> None:
    """Raise LabelError unless both are equal."""
    if tuple(label_hw) != image_hw:
        raise LabelError(
            "GF610", f"the label is of {label_hw[1]}x{label_hw[0]} pixels, its image of {image_hw[1]}x{image_hw[0]}"
        )


def _values_of(image: Image.Image) -> NDArray[np.int64]:
    if image.mode in ("1", "L", "P", "I;16", "I;16B", "I"):
        return np.asarray(image).astype(np.int64)
    channels = np.asarray(image).astype(np.int64)
    if channels.ndim != 3:
        raise LabelError("GF611", f"pixels of mode {image.mode}; classes are whole numbers in one channel")
    colour = channels[:, :, : 1 if image.mode == "LA" else 3]
    if (colour != colour[:, :, :1]).any():
        raise LabelError("GF611", "a mask in colour; give the colour of each class in classes.txt: name red green blue")
    return colour[:, :, 0]


def _colour_codes(image: Image.Image) -> NDArray[np.int64]:
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int64), 2, 0)
    codes: NDArray[np.int64] = (red << 16) + (green << 8) + blue
    return codes


@cache
def _image_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
