"""Augmentation of images with objects or class maps: all go by one `Placement`, so that labels stay on their pixels.

An image is scaled, cropped or padded, and mirrored; four of them may share the canvas (mosaic, YOLOv4, arXiv
2004.10934, section 3.4). Colours are changed afterwards, on the whole batch, by `ghostfit.data.augment`. Drawn from a
NumPy generator that is passed in. Maps are sampled at the centres of pixels: the nearest-neighbour kernel that
`torchvision.transforms.v2` has for masks takes their corners, which moves thin objects by half a pixel; and it cuts
boxes at the edge before one can see what share of them is left.

>>> transform = dense_transform("medium")
>>> picture = Picture(np.zeros((64, 64, 3), np.uint8), Objects(np.array([[8, 8, 40, 30]]), np.array([1])))
>>> image, label = transform.compose([picture], np.random.default_rng(0), (32, 32), fill=(0, 0, 0))
>>> image.shape, len(label)
((32, 32, 3), 1)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ghostfit.data.augment import Augment, Strength, resize
from ghostfit.data.outlines import box_of
from ghostfit.data.targets import Label
from ghostfit.vision.objects import IGNORE, Objects
from ghostfit.vision.placement import Placement, sample_map

VISIBLE = 0.3  # of a box: with less left, nobody could tell what it is
LEAST_SIDE = 2.0  # pixels; an object that became smaller is dropped
SMALL_SIDE = 6.0  # pixels, root of the area: an image is not shrunk until its smallest object is below this
MOSAIC_SCALE = (0.5, 1.0)  # of the images of a mosaic: each has about half a side of room
MOSAIC_MIDDLE = (0.35, 0.65)  # where the four images meet, of a side


class Picture(NamedTuple):
    """An image (H, W, C), uint8, with its label in its pixels."""

    image: NDArray[np.uint8]
    label: Label


class Tile(NamedTuple):
    """A rectangle of the canvas, in pixels: edges as in a box."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, kw_only=True)
class DenseAugment:
    """How far images and their labels are changed. Shares are probabilities an image."""

    scale: tuple[float, float] = (1.0, 1.0)  # least and largest, of the size at which the image fits the canvas
    flip_share: float = 0.5  # mirrored left to right
    mosaic_share: float = 0.0  # one of four images
    colour: Augment = field(default_factory=lambda: Augment(flip_share=0.0))

    def compose(
        self, pictures: Sequence[Picture], rng: np.random.Generator, size_hw: tuple[int, int], *, fill: Sequence[int]
    ) -> Picture:
        """One picture of `size_hw` from one, or from four as a mosaic; uncovered pixels have the colour `fill`.

        Objects of which too little is left are dropped; never all of them.
        """
        height, width = size_hw
        tiles = [Tile(0, 0, width, height)]
        if len(pictures) > 1:
            x, y = (round(side * rng.uniform(*MOSAIC_MIDDLE)) for side in (width, height))
            tiles = [Tile(0, 0, x, y), Tile(x, 0, width, y), Tile(0, y, x, height), Tile(x, y, width, height)]
        scales = self.scale if len(pictures) == 1 else MOSAIC_SCALE
        image, labels = canvas_of(size_hw, fill, pictures[0].image.shape[2]), []
        for picture, tile in zip(pictures, tiles, strict=True):
            if rng.random() < self.flip_share:
                picture = mirrored(picture)
            placement = draw_placement(picture, tile, rng, size_hw, scales)
            paste(image, picture.image, placement, tile)
            labels.append(move(picture.label, placement, tile))
        label = merged(labels)
        if isinstance(label, Objects) and not num_wanted(label):
            for picture in pictures:
                if num_wanted(picture.label):  # a picture without objects teaches less than one without change
                    return fitted(picture, size_hw)
        return Picture(image, label)


PRESETS: Mapping[str, DenseAugment | None] = {
    "none": None,
    "light": DenseAugment(scale=(0.8, 1.25), colour=Augment(flip_share=0.0, jitter=0.1)),
    "medium": DenseAugment(scale=(0.5, 1.5), mosaic_share=0.5, colour=Augment(flip_share=0.0, jitter=0.2)),
    "strong": DenseAugment(
        scale=(0.5, 1.5), mosaic_share=0.8, colour=Augment(flip_share=0.0, jitter=0.4, distort_share=0.3)
    ),
}


def dense_transform(strength: Strength, *, flip: bool = True, mosaic: bool = True) -> DenseAugment | None:
    """The augmentation of a name; None for ``none``. `flip=False` where left and right mean something, `mosaic=False`
    where an image makes sense only whole."""
    if strength not in PRESETS:
        raise ValueError(f"augment={strength!r}; allowed: {', '.join(get_args(Strength))}")
    augment = PRESETS[strength]
    if augment is None:
        return None
    return replace(
        augment,
        flip_share=augment.flip_share if flip else 0.0,
        mosaic_share=augment.mosaic_share if mosaic else 0.0,
    )


def fitted(picture: Picture, size_hw: tuple[int, int]) -> Picture:
    """The picture squashed to `size_hw`, with all its objects."""
    image, label = picture
    image_hw = image.shape[0], image.shape[1]
    if image_hw == size_hw:
        return picture
    scale_xy = size_hw[1] / image_hw[1], size_hw[0] / image_hw[0]
    placement = Placement(image_hw=image_hw, input_hw=size_hw, scale_xy=scale_xy, offset_xy=(0, 0))
    return Picture(_resized(image, size_hw), move(label, placement, Tile(0, 0, size_hw[1], size_hw[0]), keep_all=True))


def canvas_of(size_hw: tuple[int, int], fill: Sequence[int], num_channels: int) -> NDArray[np.uint8]:
    """An image of one colour."""
    canvas = np.empty((size_hw[0], size_hw[1] * num_channels), np.uint8)
    canvas[:] = np.tile(np.asarray(fill, np.uint8), size_hw[1])  # whole rows: 10 times faster than pixel by pixel
    return canvas.reshape(*size_hw, num_channels)


def mirrored(picture: Picture) -> Picture:
    """Left and right exchanged."""
    image, label = picture
    flipped = torch.from_numpy(image).flip(1).numpy()  # a tenth of NumPy's time
    if not isinstance(label, Objects):
        return Picture(flipped, label[:, ::-1])
    boxes = label.boxes_xyxy.copy()
    boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
    masks = None if label.masks is None else label.masks[:, :, ::-1]
    return Picture(flipped, Objects(boxes, label.class_ids, label.is_crowd, masks))


def draw_placement(
    picture: Picture, tile: Tile, rng: np.random.Generator, size_hw: tuple[int, int], scales: tuple[float, float]
) -> Placement:
    """Where the image comes to lie: at a random scale and place, such that one of its objects, drawn at random, lies in
    the tile. At scale 1 the image is as large as the canvas."""
    image_hw = picture.image.shape[0], picture.image.shape[1]
    fit_xy = size_hw[1] / image_hw[1], size_hw[0] / image_hw[0]
    boxes = (
        picture.label.boxes_xyxy[~picture.label.is_crowd] if isinstance(picture.label, Objects) else np.zeros((0, 4))
    )
    least, largest = scales
    anchor = None
    if len(boxes):
        smallest = float(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * fit_xy[0] * fit_xy[1]).min())
        least = min(max(least, SMALL_SIDE / max(smallest, 1e-6)), max(least, min(largest, 1.0)))
        anchor = boxes[rng.integers(len(boxes))]
    scale = float(np.exp(rng.uniform(np.log(least), np.log(largest))))
    scale_xy, offset_xy = [], []
    for axis in (0, 1):
        room = tile[axis + 2] - tile[axis]
        size, fit = image_hw[1 - axis], fit_xy[axis]
        span = None if anchor is None else (float(anchor[axis]), float(anchor[axis + 2]))
        first, factor = _draw_axis(size, room, fit * scale, span, rng.random())
        scale_xy.append(factor)
        offset_xy.append(tile[axis] + first)
    return Placement(
        image_hw=image_hw,
        input_hw=size_hw,
        scale_xy=(scale_xy[0], scale_xy[1]),
        offset_xy=(offset_xy[0], offset_xy[1]),
    )


def _draw_axis(
    size: int, room: int, scale: float, span: tuple[float, float] | None, draw: float
) -> tuple[float, float]:
    """Along one axis, where pixel 0 of an image of `size` pixels comes to lie in a room, and the scale, which is set
    right so that both a crop and the whole image have edges at whole pixels.

    `span`, where given, is what should stay in sight; `draw` is a random number 0..1.
    """
    scaled = max(1, round(size * scale))
    if scaled <= room:  # padded
        return float(int(draw * (room - scaled + 1))), scaled / size
    cropped = min(size, max(1, round(room / scale)))
    low, high = 0.0, float(size - cropped)
    if span is not None:
        first, last = span if span[1] - span[0] <= cropped else ((span[0] + span[1]) / 2,) * 2
        low, high = min(max(last - cropped, low), high), max(min(first, high), low)
    start = round(low + draw * (high - low))
    return -start * room / cropped, room / cropped


def paste(canvas: NDArray[np.uint8], image: NDArray[np.uint8], placement: Placement, tile: Tile) -> None:
    """Draw the part of `image` that lies in the tile onto the canvas."""
    into, cut = _overlap(placement, tile)
    part = image[cut.top : cut.bottom, cut.left : cut.right]
    canvas[into.top : into.bottom, into.left : into.right] = _resized(
        part, (into.bottom - into.top, into.right - into.left)
    )


def move(label: Label, placement: Placement, tile: Tile, *, keep_all: bool = False) -> Label:
    """The label on the canvas: what lies in the tile, a class map with `IGNORE` elsewhere."""
    into, _ = _overlap(placement, tile)
    if not isinstance(label, Objects):
        y, x = placement.centres()
        y, x = y[into.top : into.bottom], x[into.left : into.right]
        class_map = np.full(placement.input_hw, IGNORE, np.uint8)
        class_map[into.top : into.bottom, into.left : into.right] = sample_map(label, y, x, fill=IGNORE)
        return class_map
    boxes = placement.to_input(label.boxes_xyxy)
    cut = np.clip(boxes, [into.left, into.top] * 2, [into.right, into.bottom] * 2)
    whole, left = (np.maximum(b[:, 2:] - b[:, :2], 0) for b in (boxes, cut))
    shares = left.prod(axis=1) / np.maximum(whole.prod(axis=1), 1e-6)
    least_side = 0 if keep_all or min(placement.scale_xy) >= 1 else LEAST_SIDE
    is_kept = (shares > 0) & (left.min(axis=1) >= least_side) & (label.is_crowd | (shares >= VISIBLE) | keep_all)
    kept = np.flatnonzero(is_kept)
    if label.masks is None:
        return Objects(cut[kept], label.class_ids[kept], label.is_crowd[kept])
    y, x = placement.centres()
    boxes, masks = cut[kept], np.zeros((len(kept), *placement.input_hw), np.bool_)
    for row, (mask, source) in enumerate(zip(masks, kept, strict=True)):
        left, top, right, bottom = _whole_pixels(boxes[row])
        seen = sample_map(label.masks[source], y[top:bottom], x[left:right], fill=0)
        mask[top:bottom, left:right] = seen
        if shares[source] < 1:  # cut: the box is drawn anew about what is left, nothing at times
            boxes[row] = np.add(box_of(seen), (left, top, left, top)) if seen.any() else 0
    rows = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    kept = kept[rows]
    return Objects(boxes[rows], label.class_ids[kept], label.is_crowd[kept], masks[rows])


def merged(labels: Sequence[Label]) -> Label:
    """The labels of all tiles in one."""
    if len(labels) == 1:
        return labels[0]
    objects = [label for label in labels if isinstance(label, Objects)]
    if not objects:
        maps = [label for label in labels if not isinstance(label, Objects)]
        class_map: NDArray[np.uint8] = np.minimum.reduce(maps)  # each is `IGNORE`, the largest value, elsewhere
        return class_map
    masks = [label.masks for label in objects if label.masks is not None]
    return Objects(
        np.concatenate([label.boxes_xyxy for label in objects]),
        np.concatenate([label.class_ids for label in objects]),
        np.concatenate([label.is_crowd for label in objects]),
        np.concatenate(masks) if masks else None,
    )


def num_wanted(label: Label) -> int:
    """Objects that are to be found."""
    return int((~label.is_crowd).sum()) if isinstance(label, Objects) else 0


def _whole_pixels(box: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Edges of the pixels that a box touches."""
    return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])


def _overlap(placement: Placement, tile: Tile) -> tuple[Tile, Tile]:
    """The part of the tile that the image covers, on the canvas and in the image."""
    (scale_x, scale_y), (offset_x, offset_y) = placement.scale_xy, placement.offset_xy
    height, width = placement.image_hw
    left, right = max(tile.left, round(offset_x)), min(tile.right, round(offset_x + width * scale_x))
    top, bottom = max(tile.top, round(offset_y)), min(tile.bottom, round(offset_y + height * scale_y))
    columns = (round((edge - offset_x) / scale_x) for edge in (left, right))
    rows = (round((edge - offset_y) / scale_y) for edge in (top, bottom))
    (first_x, last_x), (first_y, last_y) = columns, rows
    return Tile(left, top, right, bottom), Tile(first_x, first_y, last_x, last_y)


def _resized(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The image at another size, filtered as `ghostfit.data.augment.resize` does."""
    if image.shape[:2] == size_hw:
        return image
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized: NDArray[np.uint8] = resize(batch, size_hw)[0].permute(1, 2, 0).numpy()
    return resized
