"""Augmentation of whole batches: random crops, flips, colour and distortions, each image with its own draw.

Drawn from a NumPy generator that is passed in, never from torch's, so that a batch follows from its number alone and
a thread may make it. What acts on one image at a time (crop and resize) uses the uint8 kernels of `interpolate`, what
is linear in colour is one matrix an image, and the rest are the kernels of `torchvision.transforms.v2.functional` on
the group of images that drew them: 3 to 10 times the speed of the v2 classes image by image (docs/LOG.md,
augmentation).

>>> transform = training_transform("medium")
>>> x = torch.zeros(4, 3, 40, 40, dtype=torch.uint8)
>>> transform(x, np.random.default_rng(0), (32, 32)).shape
torch.Size([4, 3, 32, 32])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Strength = Literal["none", "light", "medium", "strong"]
# (images (B, C, H, W) uint8, generator, size_hw) -> (B, C, *size_hw), uint8 or float32 of 0..255
Transform = Callable[[Tensor, np.random.Generator, tuple[int, int]], Tensor]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as torchvision's rgb_to_grayscale


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How far images are changed. Shares are probabilities an image."""

    shift: float = 0.0  # largest shift, of a side; what is uncovered is mirrored
    crop_area: tuple[float, float] | None = None  # random resized crop: least and largest share of the area
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width to height of the crop (torchvision's default)
    flip_share: float = 0.5  # mirrored left to right
    jitter: float = 0.0  # brightness, contrast and saturation, each 1 - jitter .. 1 + jitter
    turn_share: float = 0.0  # rotated and sheared
    turn_degrees: float = 15.0
    distort_share: float = 0.0  # one of DISTORTIONS
    erase_share: float = 0.0  # a rectangle replaced by noise (Zhong et al., arXiv 1708.04896)

    def __call__(self, images: Tensor, rng: np.random.Generator, size_hw: tuple[int, int]) -> Tensor:
        """See `Transform`."""
        if self.crop_area is not None:
            images = _crop_and_resize(images, rng, size_hw, self.crop_area, self.crop_ratio)
        else:
            images = _shift(resize(images, size_hw), rng, self.shift)
        _flip(images, rng, self.flip_share)
        if self.turn_share:
            _turn(images, rng, self.turn_share, self.turn_degrees)
        if self.distort_share:
            _distort(images, rng, self.distort_share)
        if self.jitter:
            images = _jitter(images, rng, self.jitter)
        if self.erase_share:
            _erase(images, rng, self.erase_share)
        return images


PRESETS: Mapping[str, Augment | None] = {
    "none": None,
    "light": Augment(shift=0.125),  # the usual one for 32 x 32 (He et al., arXiv 1512.03385, section 4.2)
    "medium": Augment(crop_area=(0.35, 1.0), jitter=0.2),
    "strong": Augment(crop_area=(0.2, 1.0), jitter=0.4, turn_share=0.3, distort_share=0.4, erase_share=0.25),
}


def training_transform(strength: Strength, *, flip: bool = True) -> Augment | None:
    """The augmentation of a name; None for ``none``. `flip=False` where left and right mean something, as in digits
    and text."""
    if strength not in PRESETS:
        raise ValueError(f"augment={strength!r}; allowed: {', '.join(get_args(Strength))}")
    augment = PRESETS[strength]
    return augment if flip or augment is None else replace(augment, flip_share=0.0)


def resize(images: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Batch (B, C, H, W), uint8, at another size: bilinear, filtered when it shrinks (antialiasing), as Pillow does."""
    if tuple(images.shape[-2:]) == tuple(size_hw):
        return images
    return functional.interpolate(images, size_hw, mode="bilinear", antialias=True, align_corners=False)


def _crop_and_resize(
    images: Tensor,
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Tensor:
    """Random resized crops; a crop that would not fit is cut to the image (torchvision tries ten times instead)."""
    count, channels, height, width = images.shape
    pixels = height * width * rng.uniform(*area, count)
    shape = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), count)) * width / height
    heights = np.clip(np.rint(np.sqrt(pixels / shape)), 1, height).astype(int)
    widths = np.clip(np.rint(np.sqrt(pixels * shape)), 1, width).astype(int)
    tops = (rng.random(count) * (height - heights + 1)).astype(int)
    lefts = (rng.random(count) * (width - widths + 1)).astype(int)
    out = torch.empty((count, channels, *size_hw), dtype=torch.uint8, memory_format=torch.channels_last)
    for i in range(count):
        crop = images[i : i + 1, :, tops[i] : tops[i] + heights[i], lefts[i] : lefts[i] + widths[i]]
        out[i : i + 1] = resize(crop, size_hw)
    return out


def _shift(images: Tensor, rng: np.random.Generator, shift: float) -> Tensor:
    """Whole-pixel shifts, mirrored at the border; always a copy."""
    pixels = images.permute(0, 2, 3, 1).numpy()
    count, height, width = pixels.shape[:3]
    reach_y, reach_x = (min(round(shift * side), side - 1) for side in (height, width))
    rows = np.pad(np.arange(height), reach_y, mode="reflect" if height > 1 else "edge")
    columns = np.pad(np.arange(width), reach_x, mode="reflect" if width > 1 else "edge")
    tops, lefts = rng.integers(0, 2 * reach_y + 1, count), rng.integers(0, 2 * reach_x + 1, count)
    out = np.empty(pixels.shape, np.uint8)
    for i in range(count):
        moved = pixels[i][rows[tops[i] : tops[i] + height]]
        np.take(moved, columns[lefts[i] : lefts[i] + width], axis=1, out=out[i], mode="clip")
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _flip(images: Tensor, rng: np.random.Generator, share: float) -> None:
    chosen = _choose(len(images), rng, share)
    if len(chosen):
        images[chosen] = images[chosen].flip(-1)


def _turn(images: Tensor, rng: np.random.Generator, share: float, degrees: float) -> None:
    """Rotation and shear about the centre, mirrored at the border."""
    chosen = _choose(len(images), rng, share)
    if not len(chosen):
        return
    height, width = images.shape[-2:]
    angle = np.deg2rad(rng.uniform(-degrees, degrees, len(chosen)))
    shear = np.tan(np.deg2rad(rng.uniform(-degrees, degrees, len(chosen))))
    cos, sin = np.cos(angle), np.sin(angle)
    theta = np.zeros((len(chosen), 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = cos, (cos * shear - sin) * height / width
    theta[:, 1, 0], theta[:, 1, 1] = sin * width / height, sin * shear + cos
    part = images[chosen].to(torch.float32)
    grid = functional.affine_grid(torch.from_numpy(theta), list(part.shape), align_corners=False)
    turned = functional.grid_sample(part, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    images[chosen] = turned.round_().clamp_(0, 255).to(torch.uint8)


def _distort(images: Tensor, rng: np.random.Generator, share: float) -> None:
    """Each chosen image gets one of `DISTORTIONS`; those that drew the same are changed together, equally strongly."""
    chosen = _choose(len(images), rng, share)
    kinds = rng.integers(0, len(DISTORTIONS), len(chosen))
    strengths = rng.random(len(DISTORTIONS))
    for kind, distort in enumerate(DISTORTIONS):
        rows = chosen[torch.from_numpy(kinds == kind)]
        if len(rows):
            images[rows] = distort(images[rows], float(strengths[kind]))


def _jitter(images: Tensor, rng: np.random.Generator, jitter: float) -> Tensor:
    """Brightness, contrast and saturation: all linear in colour, so one matrix and offset an image. Gives float32,
    0..255."""
    count, channels, height, width = images.shape
    brightness, contrast, saturation = rng.uniform(1 - jitter, 1 + jitter, (3, count))
    values = images.permute(0, 2, 3, 1).reshape(count, height * width, channels).to(torch.float32)
    means = values.mean(1).numpy().astype(np.float64) @ (LUMA if channels == 3 else np.full(channels, 1 / channels))
    gain = brightness * contrast
    matrix = gain[:, None, None] * np.eye(channels)
    if channels == 3:
        gray = np.tile(LUMA[:, None], (1, 3))  # x @ gray is the luma in every channel
        matrix = gain[:, None, None] * (saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * gray)
    offset = (brightness * (1 - contrast) * means)[:, None, None] * np.ones((1, 1, channels))
    weight, bias = (torch.from_numpy(array.astype(np.float32)) for array in (matrix, offset))
    changed = torch.baddbmm(bias, values, weight).clamp_(0, 255)
    return changed.reshape(count, height, width, channels).permute(0, 3, 1, 2)


def _erase(images: Tensor, rng: np.random.Generator, share: float) -> None:
    """A rectangle of 2 to 33 % of the area becomes noise, as in the paper."""
    height, width = images.shape[-2:]
    for row in _choose(len(images), rng, share).tolist():
        area = height * width * rng.uniform(0.02, 0.33)
        shape = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
        top, left, bottom, right = _box(rng, height, width, math.sqrt(area * shape), math.sqrt(area / shape))
        noise: NDArray[np.uint8] = rng.integers(0, 256, (images.shape[1], bottom - top, right - left), dtype=np.uint8)
        images[row, :, top:bottom, left:right] = torch.from_numpy(noise).to(images.dtype)


def _box(
    rng: np.random.Generator, height: int, width: int, box_height: float, box_width: float
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of a rectangle about a random centre, cut to the image (CutMix's rule)."""
    y, x = rng.random() * height, rng.random() * width
    top, bottom = (min(max(round(y + sign * box_height / 2), 0), height) for sign in (-1, 1))
    left, right = (min(max(round(x + sign * box_width / 2), 0), width) for sign in (-1, 1))
    return top, left, bottom, right


def _choose(count: int, rng: np.random.Generator, share: float) -> Tensor:
    """Row numbers, each chosen with probability `share`."""
    return torch.from_numpy(np.flatnonzero(rng.random(count) < share))


def _v2(name: str) -> Callable[..., Tensor]:
    """A kernel of torchvision's transforms v2; the package is imported when it is first needed (1 s)."""

    def call(*args: object, **options: object) -> Tensor:
        from torchvision.transforms.v2 import functional as kernels

        changed: Tensor = getattr(kernels, name)(*args, **options)
        return changed

    return call


def _gray(images: Tensor, _strength: float) -> Tensor:
    return _v2("rgb_to_grayscale")(images, images.shape[1]) if images.shape[1] == 3 else images


# Each takes images (B, C, H, W), uint8, and a strength 0..1. Ranges as in torchvision's TrivialAugmentWide, milder
# where those leave little of a small image.
DISTORTIONS: tuple[Callable[[Tensor, float], Tensor], ...] = (
    lambda images, strength: _v2("posterize")(images, 8 - round(5 * strength)),
    lambda images, strength: _v2("solarize")(images, 255 - 127 * strength),
    lambda images, strength: _v2("adjust_sharpness")(images, 1 + 0.9 * (2 * strength - 1)),
    lambda images, strength: _v2("gaussian_blur")(images, [5, 5], [0.1 + 1.5 * strength]),
    lambda images, _strength: _v2("autocontrast")(images),
    lambda images, _strength: _v2("equalize")(images) if images.shape[1] in (1, 3) else images,
    _gray,
)
