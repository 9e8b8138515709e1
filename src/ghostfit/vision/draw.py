"""A result drawn on its image, for people to look at.

>>> from ghostfit.vision.decode import decode_classification
>>> result = decode_classification(np.array([[2.0, 0.0]]), class_names=("cat", "dog"))[0]
>>> annotate(np.zeros((40, 60, 3), np.uint8), result).shape[1:]
(60, 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ghostfit.vision.objects import IGNORE
from ghostfit.vision.results import Classification, ClassMap, Detections

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom
Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"

SURE = (22, 101, 52)
UNSURE = (146, 64, 14)
# Okabe and Ito, Color Universal Design, 2008: told apart with any kind of colour vision; black is left out.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
COVER = 0.45  # of a pixel's colour is that of its mask or class


@singledispatch
def draw(result: object, image: np.ndarray) -> np.ndarray:
    """A copy of `image` (H, W, 1 or 3), uint8, with the result on it, for people to look at: (H', W, 3)."""
    raise TypeError(f"a {type(result).__name__} can't be drawn")


@draw.register
def _(result: Classification, image: np.ndarray) -> np.ndarray:
    return annotate(image, result)


@draw.register
def _(result: Detections, image: np.ndarray) -> np.ndarray:
    """Objects in their class's colour, with label and score; the best are drawn last and cover the others.

    Objects with masks of an only class are told apart by colour, and by score alone.
    """
    line = max(1, min(image.shape[:2]) // 200)
    is_numbered = len(result.class_names) == 1 and result.masks is not None
    marks = []
    for number in range(len(result) - 1, -1, -1):
        class_id = int(result.class_ids[number])
        name = "" if is_numbered else f"{result.class_names[class_id]} "
        colour = colour_of_class(number % len(COLOURS) if is_numbered else class_id)
        mask = None if result.masks is None else result.masks[number]
        marks.append(Mark(result.boxes_xyxy[number].tolist(), colour, f"{name}{result.scores[number]:.2f}", mask, line))
    return draw_marks(image, marks)


@draw.register
def _(result: ClassMap, image: np.ndarray) -> np.ndarray:
    """Each class in its colour, with a legend below of those that cover one pixel in a hundred or more."""
    shares = result.shares
    shown = [class_id for class_id in np.argsort(-shares, kind="stable").tolist() if shares[class_id] >= 0.01]
    size = max(10, min(20, image.shape[1] // 32))
    font, row = ImageFont.load_default(size), round(1.6 * size)
    canvas = Image.new("RGB", (image.shape[1], image.shape[0] + row * len(shown)), "white")
    canvas.paste(Image.fromarray(paint_classes(image, result.class_map)), (0, 0))
    pen = ImageDraw.Draw(canvas)
    for number, class_id in enumerate(shown):
        top = image.shape[0] + row * number
        pen.rectangle((4, top + 4, row - 4, top + row - 4), fill=colour_of_class(class_id), outline="black")
        text = f"{result.class_names[class_id]} {shares[class_id]:.0%}"
        pen.text((row + 4, top + row // 2), text, fill="black", font=font, anchor="lm")
    return np.array(canvas)


@dataclass(frozen=True, eq=False)
class Mark:
    """An object to draw: box (left, top, right, bottom) in pixels, words above it, mask (H, W) bool, width of line."""

    box_xyxy: Sequence[float]
    colour: Colour
    text: str = ""
    mask: np.ndarray | None = None
    line: int = 1


def draw_marks(image: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """A copy of `image` (H, W, 1 or 3), uint8, with objects on it, (H, W, 3): masks, boxes, words, later ones on top.

    Words that would cover those of a later object, or the middle of another, are left out.
    """
    pixels = _rgb(image).astype(np.float32)
    for mark in marks:
        if mark.mask is not None:
            _tint(pixels, mark.mask, mark.colour)
    canvas = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(10, min(24, image.shape[1] // 32)))
    for mark in marks:
        left, top, right, bottom = (float(edge) for edge in mark.box_xyxy)
        corners = (left, top, max(left, right - 1), max(top, bottom - 1))
        pen.rectangle(corners, outline=mark.colour, width=mark.line)
    middles = [((mark.box_xyxy[0] + mark.box_xyxy[2]) / 2, (mark.box_xyxy[1] + mark.box_xyxy[3]) / 2) for mark in marks]
    taken: list[Box] = []
    for number in range(len(marks) - 1, -1, -1):
        mark, others = marks[number], middles[:number] + middles[number + 1 :]
        if not mark.text:
            continue
        place = _place_of_label(pen, font, mark, canvas.size)
        if not any(_is_inside(point, place) for point in others) and not any(_do_meet(place, other) for other in taken):
            taken.append(place)
            _write_label(pen, font, mark, place)
    return np.array(canvas)


def paint_classes(image: np.ndarray, class_map: np.ndarray) -> np.ndarray:
    """A copy of `image` (H, W, 1 or 3), uint8, with its classes as colours: (H, W, 3).

    `class_map` (H, W) uint8; a pixel of no class (`IGNORE`) is left as it is.
    """
    pixels = _rgb(image).astype(np.float32)
    for class_id in np.unique(class_map[class_map != IGNORE]).tolist():
        _tint(pixels, class_map == class_id, colour_of_class(class_id))
    return pixels.astype(np.uint8)


def colour_of_class(class_id: int) -> Colour:
    """Red, green and blue, 0..255: the palette again and again, darker each time around."""
    around, number = divmod(class_id, len(COLOURS))
    red, green, blue = (round(value * 0.7 ** (around % 4)) for value in COLOURS[number])
    return red, green, blue


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
    canvas.paste(Image.fromarray(_rgb(image)), (0, 0))
    ImageDraw.Draw(canvas).text((size // 2, height + bar // 2), text, fill="white", font=font, anchor="lm")
    return np.array(canvas)


def _rgb(image: np.ndarray) -> np.ndarray:
    return image if image.shape[2] == 3 else image.repeat(3, axis=2)


def _tint(pixels: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    """Mix a colour into the pixels (H, W, 3), float, of a mask, in place."""
    pixels[mask] = (1 - COVER) * pixels[mask] + COVER * np.array(colour, np.float32)


def _place_of_label(pen: ImageDraw.ImageDraw, font: Font, mark: Mark, size_wh: tuple[int, int]) -> Box:
    """Left, top, right, bottom of the words above a box, or inside it where there is no room above; never beyond the
    image."""
    left, top, right, bottom = pen.textbbox((0, 0), mark.text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = max(0.0, min(float(mark.box_xyxy[0]), size_wh[0] - width))
    edge = float(mark.box_xyxy[1])
    y = edge - height if edge >= height else max(0.0, min(edge, size_wh[1] - height))
    return x, y, x + width, y + height


def _write_label(pen: ImageDraw.ImageDraw, font: Font, mark: Mark, place: Box) -> None:
    """Words on the colour of their object."""
    left, top, _, _ = pen.textbbox((0, 0), mark.text, font=font)
    is_dark = 0.299 * mark.colour[0] + 0.587 * mark.colour[1] + 0.114 * mark.colour[2] < 140
    pen.rectangle(place, fill=mark.colour)
    fill = "white" if is_dark else "black"
    pen.text((place[0] + 2 - left, place[1] + 2 - top), mark.text, fill=fill, font=font)


def _is_inside(point: tuple[float, float], box: Box) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _do_meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
