"""Outlines of machined parts and of their defects, as fields over a small patch of pixels.

A part is a signed distance in pixels (negative inside; Quilez, https://iquilezles.org/articles/distfunctions2d): its
sign is the label, its gradient the chamfer that catches light. A defect is a coverage 0..1 of each pixel.

>>> part = Part("washer", (0.0, 0.0), 8.0, 0.0, (0.5, 0.0, 0.0))
>>> distance = distance_to(part, *grid(10))
>>> bool(distance[10, 10] > 0), bool(distance[10, 16] < 0)  # the hole, the ring
(True, True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Field: TypeAlias = "NDArray[Any]"  # of floats

FINE = 4  # drawn so many times finer, then averaged


@dataclass(frozen=True)
class Defect:
    """A flaw of `kind` at `centre_xy`, relative to its part; `traits` are numbers 0..1 that its outline is drawn
    from."""

    kind: str
    centre_xy: tuple[float, float]
    traits: tuple[float, ...]


@dataclass(frozen=True)
class Part:
    """A machined part: `kind`, centre and half size in pixels, turn in radians, numbers 0..1 that vary its shape."""

    kind: str
    centre_xy: tuple[float, float]
    radius: float
    angle: float
    traits: tuple[float, float, float]
    defects: tuple[Defect, ...] = ()


def grid(reach: int) -> tuple[Field, Field]:
    """Columns and rows of the pixels of a patch of (2 * reach + 1) pixels a side, from its centre."""
    line = np.arange(-reach, reach + 1, dtype=np.float32)
    return np.broadcast_to(line[None, :], (len(line),) * 2), np.broadcast_to(line[:, None], (len(line),) * 2)


def distance_to(part: Part, x: Field, y: Field) -> Field:
    """Signed distance of points (relative to the part's centre) to its outline, in pixels; negative inside."""
    cos, sin = math.cos(part.angle), math.sin(part.angle)
    u, v = cos * x + sin * y, cos * y - sin * x
    distance: Field = OUTLINES[part.kind](u, v, part.radius, part.traits)
    return distance.astype(np.float32)


def coverage_of(defect: Defect, x: Field, y: Field) -> Field:
    """Share 0..1 of each pixel that a defect covers; x, y relative to its part's centre."""
    return COVERAGES[defect.kind](x - defect.centre_xy[0], y - defect.centre_xy[1], defect.traits)


def _disc(u: Field, v: Field, radius: float, traits: Sequence[float]) -> Field:
    """A flange: a disc with a ring of bolt holes, or with a centre hole."""
    distance = np.hypot(u, v) - radius
    if traits[0] < 0.3:
        return distance
    if traits[0] < 0.5:
        return _without_hole(distance, u, v, 0, 0, 0.16 * radius)
    number = 3 + int(traits[1] * 4)
    for angle in np.arange(number) * (2 * math.pi / number):
        x, y = 0.66 * radius * math.cos(angle), 0.66 * radius * math.sin(angle)
        distance = _without_hole(distance, u, v, x, y, (0.08 + 0.06 * traits[2]) * radius)
    return distance


def _washer(u: Field, v: Field, radius: float, traits: Sequence[float]) -> Field:
    return _without_hole(np.hypot(u, v) - radius, u, v, 0, 0, (0.35 + 0.25 * traits[0]) * radius)


def _gear(u: Field, v: Field, radius: float, traits: Sequence[float]) -> Field:
    number, depth = 10 + int(traits[0] * 14), 0.13 + 0.08 * traits[1]
    tooth = np.clip(1.5 * np.cos(number * np.arctan2(v, u)), -1, 1)
    distance = 0.75 * (np.hypot(u, v) - radius * (1 - depth * (1 - tooth) / 2))
    bore = (0.16 + 0.12 * traits[2]) * radius
    distance = _without_hole(distance, u, v, 0, 0, bore)
    keyway = np.maximum(np.abs(u) - 0.3 * bore, np.abs(v + bore) - 0.35 * bore)
    return np.maximum(distance, -keyway)


def _bracket(u: Field, v: Field, radius: float, traits: Sequence[float]) -> Field:
    """An angle: two bars that meet in a corner, with holes."""
    radius = 0.8 * radius  # its corners stand out
    width, reach = (0.24 + 0.1 * traits[0]) * radius, (0.5 + 0.22 * traits[1]) * radius
    edge = -0.6 * radius
    first = _box(u - edge - width, v, width, radius * 0.92)
    second = _box(u - edge - reach, v - 0.92 * radius + width, reach, width)
    distance = np.minimum(first, second)
    hole = (0.35 + 0.2 * traits[2]) * width
    for x, y in (
        (edge + width, -0.6 * radius),
        (edge + width, 0.05 * radius),
        (edge + 1.55 * reach, 0.92 * radius - width),
    ):
        distance = _without_hole(distance, u, v, x, y, hole)
    return distance


def _box(u: Field, v: Field, half_width: float, half_height: float) -> Field:
    """A box with corners rounded by 2 pixels."""
    x, y = np.abs(u) - half_width + 2, np.abs(v) - half_height + 2
    distance: Field = np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0) - 2
    return distance


def _without_hole(distance: Field, u: Field, v: Field, x: float, y: float, radius: float) -> Field:
    return np.maximum(distance, radius - np.hypot(u - x, v - y))


def _scratch(x: Field, y: Field, traits: Sequence[float]) -> Field:
    """A bent line, 1.5 to 3 pixels wide: what is narrower may miss every pixel by half."""
    length, width = 14 + 40 * traits[0] ** 1.5, 1.5 + 1.5 * traits[1] ** 2
    angle, bend = 2 * math.pi * traits[2], 1.6 * (traits[3] - 0.5)
    along = np.linspace(-0.5, 0.5, 12)
    turned = angle + bend * along
    points = np.stack([np.cumsum(np.cos(turned)), np.cumsum(np.sin(turned))], 1) * (length / len(along))
    points -= points.mean(axis=0)
    return _drawn(
        x, y, lambda draw, place: draw.line(place(points), fill=255, width=round(width * FINE), joint="curve")
    )


def _dent(x: Field, y: Field, traits: Sequence[float]) -> Field:
    """An ellipse of 3 to 8 pixels half a side."""
    return np.clip((1 - dent_radius(x, y, traits)) * (3 + 4 * traits[0]) + 0.5, 0, 1).astype(np.float32)


def dent_radius(x: Field, y: Field, traits: Sequence[float]) -> Field:
    """How far a point is from a dent's middle (0) to its rim (1)."""
    half, ratio, angle = 3 + 4 * traits[0], 0.75 + 0.4 * traits[1], math.pi * traits[2]
    cos, sin = math.cos(angle), math.sin(angle)
    return np.hypot((cos * x + sin * y) / half, (cos * y - sin * x) / (half * ratio))


def _stain(x: Field, y: Field, traits: Sequence[float]) -> Field:
    """A blob of 4 to 13 pixels half a side, with lobes."""
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    lobes = sum(
        (traits[1 + number] - 0.5) / number * np.cos(number * angles + 2 * math.pi * traits[4 + number])
        for number in (1, 2, 3)
    )
    radius = (4 + 9 * traits[0]) * (1 + 0.6 * lobes)
    points = np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)
    return _drawn(x, y, lambda draw, place: draw.polygon(place(points), fill=255))


Place = Callable[[NDArray[np.float64]], list[tuple[float, float]]]


def _drawn(x: Field, y: Field, paint: Callable[[ImageDraw.ImageDraw, Place], object]) -> Field:
    """Coverage of what `paint` draws, in the coordinates x, y of a patch."""
    height, width = x.shape
    canvas = Image.new("L", (width * FINE, height * FINE))
    left, top = float(x[0, 0]) - 0.5, float(y[0, 0]) - 0.5
    paint(ImageDraw.Draw(canvas), lambda points: [((px - left) * FINE, (py - top) * FINE) for px, py in points])
    return np.asarray(canvas.reduce(FINE), np.float32) / 255


OUTLINES: Mapping[str, Callable[[Field, Field, float, Sequence[float]], Field]] = {
    "disc": _disc,
    "gear": _gear,
    "bracket": _bracket,
    "washer": _washer,
}
COVERAGES: Mapping[str, Callable[[Field, Field, Sequence[float]], Field]] = {
    "scratch": _scratch,
    "dent": _dent,
    "stain": _stain,
}
NUM_TRAITS = 8  # of a defect; a stain reads all
