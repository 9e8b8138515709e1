"""From an image file to the array that a network reads: the one place where this is decided.

Training caches, certificates, scoring and prediction all go through `read_image` and `Prepare`, so that what was
measured is what runs. Resizing is Pillow's, which filters when it shrinks (antialiasing).

>>> prepare = Prepare(size_hw=(32, 32))
>>> prepare(np.zeros((48, 64, 3), np.uint8)).shape
(3, 32, 32)
>>> Prepare.from_dict(prepare.to_dict()) == prepare
True
"""

from __future__ import annotations

import dataclasses
import io
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image, UnidentifiedImageError

from ghostfit.vision.placement import Placement

ImageSource: TypeAlias = "str | Path | bytes | np.ndarray | Image.Image"
ResizeRule: TypeAlias = Literal["squash", "crop", "letterbox"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

# The formats that are decoded. Pillow knows more, but some of them start other programs (EPS runs Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "MPO", "JPEG2000", "AVIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
MAX_PIXELS = 89_478_485  # Pillow's own bound against decompression bombs: 256 MiB of RGB
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's reference weights, and nearly all of timm's
IMAGENET_STD = (0.229, 0.224, 0.225)
RANGE_16 = (0, 65535)  # all that 16 bits hold: 8 bits are then their high byte

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_ORIENTATION_TAG = 0x0112
_TURNS = {  # EXIF 2.3, table 4, orientation: how to bring the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """An image that can't be read, with the reason: missing, corrupt, truncated, of unknown format or too large."""


def read_image(source: ImageSource, *, in_channels: int = 3, range_16: tuple[int, int] = RANGE_16) -> np.ndarray:
    """The upright pixels of an image: (H, W, in_channels), uint8; RGB for 3 channels, luma for 1.

    EXIF rotation is applied. Gray, palette and CMYK become RGB; of 16-bit gray the values `range_16`, both included,
    become 0..255 in equal steps, those outside its ends; 16-bit colour keeps its high byte; transparency is laid over
    white, since the colour hidden under it is arbitrary; of an animation the first frame is taken. Arrays are (H, W) or
    (H, W, C) of uint8, uint16 or bool; other channel counts than 1 and 3 come only from arrays that have that many.
    Raises ImageError when the pixels can't be had, or are more than `MAX_PIXELS`.

    >>> read_image(np.zeros((4, 6), np.uint8)).shape
    (4, 6, 3)
    """
    if isinstance(source, np.ndarray):
        pixels = _eight_bit(source, range_16)
        if pixels.ndim == 3 and pixels.shape[2] == in_channels:
            return np.ascontiguousarray(pixels)
        return _pixels_of(_image_of(pixels), in_channels, range_16)
    if isinstance(source, Image.Image):
        return _decode(source, in_channels, range_16, "image")
    name = f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise ImageError(f"{name}: no such file")
    stream = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    try:
        with Image.open(stream, formats=_known_formats()) as image:
            return _decode(image, in_channels, range_16, name)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image of a known format ({', '.join(_known_formats())})") from error
    except Exception as error:  # decoders meet damaged headers with nearly any exception
        raise ImageError(f"{name}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Why a decoder gave up, in words for a sentence.

    >>> reason_of(Image.DecompressionBombError("..."))
    'many more pixels than the 89,478,485 that are read'
    """
    if isinstance(error, Image.DecompressionBombError):
        return f"many more pixels than the {MAX_PIXELS:,} that are read"
    return str(error).rstrip(".") or type(error).__name__


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """How an image becomes a network's input; it travels with the weights and in the bundle's manifest.

    `resize` is the rule: "squash" resizes to `size_hw` whatever the shape; "crop" resizes until `size_hw` /
    `crop_pct` is covered and takes the centre (timm's and torchvision's evaluation); "letterbox" keeps all of the
    image and its shape, with bars of the mean colour. `mean` and `std` are of values 0..1, one a channel. `range_16`
    are the values of 16-bit gray that become 0 and 255, see `read_image`.
    """

    size_hw: tuple[int, int]
    resize: ResizeRule = "squash"
    crop_pct: float = 1.0
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    in_channels: int = 3
    range_16: tuple[int, int] = RANGE_16

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Input for the network, (C, H, W), float32, of an `image` (H, W, C), uint8, of any size."""
        return self.normalised(self.resized(image))

    def read(self, source: ImageSource) -> np.ndarray:
        """The upright pixels of an image as `read_image` gives them for this input. Raises ImageError."""
        return read_image(source, in_channels=self.in_channels, range_16=self.range_16)

    def resized(self, image: np.ndarray) -> np.ndarray:
        """`image` (H, W, C), uint8, at `size_hw` by the resize rule: (h, w, C), uint8."""
        self._check_image(image)
        inner_hw, top, left = self._geometry((image.shape[0], image.shape[1]))
        inner = _resample(image, inner_hw, self.interpolation)
        if self.resize == "letterbox" and inner_hw != self.size_hw:
            canvas = np.empty((*self.size_hw, self.in_channels), np.uint8)
            canvas[:] = [round(255 * min(1.0, max(0.0, mean))) for mean in self.mean]
            canvas[top : top + inner_hw[0], left : left + inner_hw[1]] = inner
            return canvas
        return np.ascontiguousarray(inner[-top : self.size_hw[0] - top, -left : self.size_hw[1] - left])

    def placement(self, image_hw: tuple[int, int]) -> Placement:
        """Where an image of `image_hw` pixels lies in the input: what resizing did, and how boxes come back from it.

        >>> Prepare(size_hw=(32, 32), resize="letterbox").placement((50, 100)).offset_xy
        (0, 8)
        """
        (inner_h, inner_w), top, left = self._geometry(image_hw)
        return Placement(
            image_hw=image_hw,
            input_hw=self.size_hw,
            scale_xy=(inner_w / image_hw[1], inner_h / image_hw[0]),
            offset_xy=(left, top),
        )

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """(x / 255 - mean) / std of resized images (..., H, W, C), uint8, as (..., C, H, W), float32."""
        std = np.array(self.std, np.float64)
        scale = (1 / (255 * std)).astype(np.float32)[:, None, None]
        offset = (-np.array(self.mean, np.float64) / std).astype(np.float32)[:, None, None]
        values: np.ndarray = np.multiply(np.moveaxis(images, -1, -3), scale, dtype=np.float32, order="C")
        values += offset
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain dict ready for JSON; `range_16` only where it is not the usual."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {name: value for name, value in values.items() if name != "range_16" or self.range_16 != RANGE_16}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Prepare:
        """Inverse of `to_dict`. Raises ValueError that names a wrong, missing or unknown field."""
        unknown = sorted(set(data) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"unknown field of the preparation: {', '.join(unknown)}")
        try:
            fields: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
            }
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"not a preparation: {error}; write one with Prepare.to_dict()") from error

    def _geometry(self, image_hw: tuple[int, int]) -> tuple[tuple[int, int], int, int]:
        """Size that an image is resized to, and the row and column of the input where its first pixel comes to lie
        (below zero where a crop cuts it off)."""
        height, width = self.size_hw
        fits = (height / image_hw[0], width / image_hw[1])
        if self.resize == "squash":
            return self.size_hw, 0, 0
        if self.resize == "letterbox":
            inner_h, inner_w = (
                min(most, max(1, round(side * min(fits)))) for most, side in zip(self.size_hw, image_hw, strict=True)
            )
            return (inner_h, inner_w), (height - inner_h) // 2, (width - inner_w) // 2
        scale = max(fits) / self.crop_pct
        # Whole pixels are cut off (floor), as torchvision does, so that published accuracies are met.
        inner_h, inner_w = (
            max(least, math.floor(side * scale + 1e-6)) for least, side in zip(self.size_hw, image_hw, strict=True)
        )
        return (inner_h, inner_w), -round((inner_h - height) / 2), -round((inner_w - width) / 2)

    def _check_image(self, image: np.ndarray) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.in_channels or 0 in image.shape:
            raise ImageError(
                f"image of shape {image.shape}, {image.dtype}; wanted (height, width, {self.in_channels}), uint8, "
                "as read_image gives"
            )


def prepare_batch(images: Sequence[np.ndarray], prepare: Prepare) -> np.ndarray:
    """Network input (N, C, H, W), float32, of `images` (H, W, C), uint8, each of its own size."""
    if not len(images):
        return np.empty((0, prepare.in_channels, *prepare.size_hw), np.float32)
    return prepare.normalised(np.stack([prepare.resized(image) for image in images]))


def _decode(image: Image.Image, in_channels: int, range_16: tuple[int, int], name: str) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width} x {height} pixels; at most {MAX_PIXELS:,} are read")
    try:
        image.load()
        turn = _TURNS.get(_orientation(image))
        return _pixels_of(image.transpose(turn) if turn is not None else image, in_channels, range_16)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except Exception as error:  # decoders meet damaged data with nearly any exception
        raise ImageError(f"{name}: {reason_of(error)}") from error


def _pixels_of(image: Image.Image, in_channels: int, range_16: tuple[int, int]) -> np.ndarray:
    if in_channels not in (1, 3):
        raise ImageError(
            f"{in_channels} channels wanted from an image of mode {image.mode}; give an array of that many"
        )
    if 0 in image.size:
        raise ImageError("the image has no pixels")
    if image.mode == "F":
        raise ImageError("floating-point samples have no agreed range; save the image with 8 or 16 bits a sample")
    if image.mode.startswith("I"):  # 16 bits, in one of several wrappings
        image = _image_of(_eight_bit(np.clip(np.asarray(image), *RANGE_16).astype(np.uint16), range_16))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        image = Image.alpha_composite(white, colours)
    pixels = np.array(image.convert("RGB" if in_channels == 3 else "L"))
    return pixels if in_channels == 3 else pixels[:, :, None]


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or the EXIF block is damaged: the pixels are still good."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a damaged block of tags fails in any way
        return 1


def _eight_bit(pixels: np.ndarray, range_16: tuple[int, int]) -> np.ndarray:
    """uint8 of uint8, of uint16 (256 steps of `range_16`) or of bool (0 and 255)."""
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ImageError(f"array of shape {pixels.shape}; an image is (height, width) or (height, width, channels)")
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise ImageError(f"{pixels.shape[1]} x {pixels.shape[0]} pixels; at most {MAX_PIXELS:,} are read")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        low, high = range_16
        steps = np.clip((np.arange(RANGE_16[1] + 1) - low) * 256 // (high - low + 1), 0, 255).astype(np.uint8)
        eight: np.ndarray = steps[pixels]
        return eight
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    raise ImageError(
        f"array of {pixels.dtype}; allowed: uint8, uint16, bool. For values 0..1 give (255 * x).astype('uint8')"
    )


def _image_of(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] not in (2, 3, 4):
        raise ImageError(f"array of shape {pixels.shape}; 1 to 4 channels can be turned to RGB or gray")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _resample(image: np.ndarray, size_hw: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """`image` at another size; channel by channel where Pillow has no mode for the count."""
    if image.shape[:2] == size_hw:
        return np.ascontiguousarray(image)
    if image.shape[2] == 3:
        size_wh = (size_hw[1], size_hw[0])
        return np.array(Image.fromarray(np.ascontiguousarray(image)).resize(size_wh, _FILTERS[interpolation]))
    planes = [
        Image.fromarray(np.ascontiguousarray(image[:, :, channel])).resize(
            (size_hw[1], size_hw[0]), _FILTERS[interpolation]
        )
        for channel in range(image.shape[2])
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check(prepare: Prepare) -> None:
    sides = [operator.index(side) for side in prepare.size_hw]  # TypeError on what is no whole number
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"size_hw={prepare.size_hw}; wanted height and width in pixels, above zero")
    if prepare.resize not in get_args(ResizeRule):
        raise ValueError(f"resize={prepare.resize!r}; allowed: {', '.join(get_args(ResizeRule))}")
    if prepare.interpolation not in get_args(Interpolation):
        raise ValueError(f"interpolation={prepare.interpolation!r}; allowed: {', '.join(get_args(Interpolation))}")
    if not 0 < prepare.crop_pct <= 1 or (prepare.crop_pct != 1 and prepare.resize != "crop"):
        raise ValueError(
            f"crop_pct={prepare.crop_pct} with resize={prepare.resize!r}; it must lie in 0..1 and belongs to 'crop'"
        )
    if not len(prepare.mean) == len(prepare.std) == prepare.in_channels:
        raise ValueError(
            f"{len(prepare.mean)} means and {len(prepare.std)} deviations for {prepare.in_channels} channels; "
            "give one a channel"
        )
    ends = [operator.index(end) for end in prepare.range_16]
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= RANGE_16[1]:
        raise ValueError(f"range_16={prepare.range_16}; wanted two whole numbers, the first smaller, within {RANGE_16}")
    if not all(math.isfinite(value) for value in (*prepare.mean, *prepare.std)) or min(prepare.std) <= 0:
        raise ValueError(f"mean={prepare.mean}, std={prepare.std}; all must be finite and deviations above zero")
