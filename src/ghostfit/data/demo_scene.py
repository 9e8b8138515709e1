"""Pictures of machined parts on a conveyor, some of them scratched, dented or stained, with exact labels.

A scene follows from (seed, number) alone. Its geometry and its looks are drawn from generators of their own, so that
labels are had without painting. What makes it hard: brushed and turned metal, chamfers, holes and engravings that look
like flaws, dirt and swarf on the belt, parts that hide one another, uneven light, blur and noise.

>>> scene = plan_scene(0, 3)
>>> image = paint(scene)
>>> image.shape, image.dtype
((256, 256, 3), dtype('uint8'))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ghostfit.data.demo_shapes import (
    COVERAGES,
    NUM_TRAITS,
    OUTLINES,
    Defect,
    Field,
    Part,
    coverage_of,
    dent_radius,
    distance_to,
    grid,
)

SIZE = 256  # pixels a side
PARTS, DEFECTS = tuple(OUTLINES), tuple(COVERAGES)

MARGIN = 64  # around the picture, so that a part may stick out
RADII = (24.0, 46.0)  # half size of a part
MOST_PARTS = 5
EMPTY_SHARE = 0.06  # of the pictures: the belt alone
DEFECT_SHARES = (0.42, 0.36, 0.16, 0.06)  # of the parts with 0, 1, 2, 3 defects
OVERLAP = 0.75  # of the radii's sum: parts come no nearer than this
BELTS = ((54, 57, 60), (58, 84, 74), (66, 80, 104), (112, 110, 104))  # rubber, green, blue and grey
TINTS = ((0.62, 0.5, 0.36), (0.5, 0.5, 0.52), (1.25, 1.25, 1.22))  # rust, oil, dried water
METALS = ((152, 155, 160), (104, 107, 112), (182, 156, 100), (172, 178, 186), (160, 118, 92))


@dataclass(frozen=True)
class Scene:
    """Parts from the lowest to the uppermost, and the seed of their looks."""

    parts: tuple[Part, ...]
    look: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """A part on the margined canvas: where, its outline, and the coverage of each of its defects."""

    part: Part
    at: tuple[slice, slice]
    x: Field
    y: Field
    distance: Field
    flaws: tuple[Field, ...]

    @property
    def alpha(self) -> Field:
        """Share of each pixel that the part covers."""
        return np.clip(0.5 - self.distance, 0, 1)


def plan_scene(seed: int, number: int) -> Scene:
    """What lies on the belt in picture `number`."""
    rng = np.random.default_rng([seed, number, 0])
    parts: list[Part] = []
    wanted = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, MOST_PARTS + 1))
    for _ in range(8 * wanted):
        x, y = rng.uniform(-0.04 * SIZE, 1.04 * SIZE, 2)
        radius, angle = rng.uniform(*RADII), rng.uniform(0, 2 * math.pi)
        traits = tuple(rng.random(3).tolist())
        part = Part(PARTS[rng.integers(len(PARTS))], (x, y), radius, angle, (traits[0], traits[1], traits[2]))
        is_clear = all(math.dist((x, y), o.centre_xy) > OVERLAP * (radius + o.radius) for o in parts)
        if len(parts) < wanted and is_clear:
            parts.append(_with_defects(part, rng))
    return Scene(tuple(parts), (seed, number, 1))


def layers_of(scene: Scene) -> list[Layer]:
    """The parts of a scene as fields of pixels, from the lowest up."""
    return [_layer(part) for part in scene.parts]


def visible_masks(layers: Sequence[Layer]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Kind and visible pixels (SIZE, SIZE) of every part, each followed by its defects; empty masks included."""
    found = []
    is_free = np.ones((SIZE + 2 * MARGIN,) * 2, np.bool_)
    for layer in reversed(layers):
        outline = (layer.distance < 0) & is_free[layer.at]
        flaws = [(coverage >= 0.5) & outline for coverage in layer.flaws]
        is_free[layer.at] &= ~outline
        kinds = [layer.part.kind, *(defect.kind for defect in layer.part.defects)]
        found.append([(kind, _uncropped(mask, layer.at)) for kind, mask in zip(kinds, [outline, *flaws], strict=True)])
    return [pair for group in reversed(found) for pair in group]


def paint(scene: Scene) -> NDArray[np.uint8]:
    """The picture of a scene: (SIZE, SIZE, 3), uint8."""
    rng = np.random.default_rng(scene.look)
    side = SIZE + 2 * MARGIN
    canvas = np.zeros((side, side, 3), np.float32)
    inner = canvas[MARGIN:-MARGIN, MARGIN:-MARGIN]
    inner[:] = _belt(rng)
    angle = rng.uniform(0, 2 * math.pi)
    light = (math.cos(angle), math.sin(angle))
    for layer in layers_of(scene):
        _paint_shadow(canvas, layer, light, rng)
        _paint_part(canvas, layer, light, rng)
    return _photograph(inner, rng)


def _with_defects(part: Part, rng: np.random.Generator) -> Part:
    """`part` with some defects; each lies where the part is solid."""
    number = int(rng.choice(len(DEFECT_SHARES), p=DEFECT_SHARES))
    x, y = grid(math.ceil(part.radius))
    solid = np.flatnonzero(distance_to(part, x, y) < -4)
    defects = []
    for _ in range(number if len(solid) else 0):
        place = solid[rng.integers(len(solid))]
        kind = DEFECTS[rng.integers(len(DEFECTS))]
        centre_xy = float(x.flat[place]), float(y.flat[place])
        defects.append(Defect(kind, centre_xy, tuple(rng.random(NUM_TRAITS).tolist())))
    return replace(part, defects=tuple(defects))


def _layer(part: Part) -> Layer:
    column, row = (round(value) for value in part.centre_xy)
    reach = math.ceil(part.radius) + 3
    x, y = grid(reach)
    x, y = x + np.float32(column - part.centre_xy[0]), y + np.float32(row - part.centre_xy[1])
    top, left = row + MARGIN - reach, column + MARGIN - reach
    at = slice(top, top + len(x)), slice(left, left + len(x))
    return Layer(part, at, x, y, distance_to(part, x, y), tuple(coverage_of(defect, x, y) for defect in part.defects))


def _uncropped(mask: NDArray[np.bool_], at: tuple[slice, slice]) -> NDArray[np.bool_]:
    canvas = np.zeros((SIZE + 2 * MARGIN,) * 2, np.bool_)
    canvas[at] = mask
    return canvas[MARGIN:-MARGIN, MARGIN:-MARGIN]


def _belt(rng: np.random.Generator) -> Field:
    """Rubber with streaks along its way, a weave, dirt, scuffs and swarf."""
    colour = np.array(BELTS[rng.integers(len(BELTS))], np.float32) * rng.uniform(0.85, 1.15)
    line = np.arange(SIZE, dtype=np.float32)
    period = rng.uniform(3, 6)
    shade = rng.uniform(1, 4) * np.sin(line * (2 * math.pi / period))[:, None] * np.sin(line * (2 * math.pi / period))
    shade = shade + rng.uniform(2, 6) * _smooth_line(rng, SIZE, 3)[:, None] + rng.uniform(3, 9) * _clouds(rng, SIZE, 7)
    x, y = grid(24)
    for _ in range(rng.integers(2, 9)):  # dirt and scuffs: flaws of the belt are none of a part
        kind = DEFECTS[rng.integers(len(DEFECTS))]
        if kind == "dent":
            continue
        row, column = rng.integers(0, SIZE - len(x), 2)
        mark = coverage_of(Defect(kind, (0.0, 0.0), tuple(rng.random(NUM_TRAITS).tolist())), x, y)
        shade[row : row + len(x), column : column + len(x)] += rng.choice([-22, 30]) * rng.uniform(0.4, 1) * mark
    for _ in range(rng.integers(0, 6)):  # swarf
        row, column = rng.integers(0, SIZE - len(x), 2)
        traits = (0.05 * rng.random(), 0.2, rng.random(), rng.choice([-0.9, 1.9]), *([0.0] * 4))
        mark = coverage_of(Defect("scratch", (0.0, 0.0), traits), x, y)
        shade[row : row + len(x), column : column + len(x)] += rng.uniform(40, 110) * mark
    belt: Field = colour + shade[:, :, None]
    return belt


def _paint_shadow(canvas: Field, layer: Layer, light: tuple[float, float], rng: np.random.Generator) -> None:
    shift = rng.uniform(2, 6)
    rows, columns = layer.at
    down, right = round(-light[1] * shift), round(-light[0] * shift)
    under = canvas[rows.start + down : rows.stop + down, columns.start + right : columns.stop + right]
    soft = np.clip(0.5 - layer.distance / 6, 0, 1)
    under *= (1 - rng.uniform(0.3, 0.6) * soft)[:, :, None]


def _paint_part(canvas: Field, layer: Layer, light: tuple[float, float], rng: np.random.Generator) -> None:
    metal = np.array(METALS[rng.integers(len(METALS))], np.float32) * rng.uniform(0.8, 1.15)
    shade = _grain(layer, rng) + _chamfer(layer, light, rng)
    if rng.random() < 0.4:
        shade += _engraving(layer, rng)
    colour = metal + shade[:, :, None]
    for defect, coverage in zip(layer.part.defects, layer.flaws, strict=True):
        colour = _spoil(colour, defect, coverage, layer, light, rng)
    alpha = layer.alpha[:, :, None]
    under = canvas[layer.at]
    under += alpha * (colour - under)


def _grain(layer: Layer, rng: np.random.Generator) -> Field:
    """Marks of machining: rings of a lathe with their bow-tie of light, or lines of a brush."""
    part, strength = layer.part, rng.uniform(4, 14)
    spread = rng.uniform(0.6, 1.6)
    if part.kind == "bracket" or rng.random() < 0.25:
        cos, sin = math.cos(part.angle), math.sin(part.angle)
        across = cos * layer.y - sin * layer.x
        line = _smooth_line(rng, 512, spread)
        return strength * line[(across * 2 + 256).astype(np.intp) % 512]
    radius = np.hypot(layer.x, layer.y)
    line = _smooth_line(rng, 256, spread)
    twice = 2 * (np.arctan2(layer.y, layer.x) - rng.uniform(0, math.pi))
    shine = rng.uniform(10, 38) * (np.maximum(np.cos(twice), 0) ** 3 - 0.3)
    return strength * line[(radius * 2).astype(np.intp) % 256] + shine.astype(np.float32)


def _chamfer(layer: Layer, light: tuple[float, float], rng: np.random.Generator) -> Field:
    """Edges that look towards the light shine, those that look away are dark."""
    width = rng.uniform(2, 4)
    slope_y, slope_x = np.gradient(layer.distance)
    edge = np.clip(1 + layer.distance / width, 0, 1)
    shade: Field = rng.uniform(25, 70) * edge * (slope_x * light[0] + slope_y * light[1])
    return shade


def _engraving(layer: Layer, rng: np.random.Generator) -> Field:
    """A row of short strokes, as of a stamped number: looks like scratches and is none."""
    angle = layer.part.angle + rng.choice([0.0, math.pi / 2])
    u = math.cos(angle) * layer.x + math.sin(angle) * layer.y
    v = math.cos(angle) * layer.y - math.sin(angle) * layer.x
    pitch, height = rng.uniform(3.5, 5), rng.uniform(2.5, 4)
    at = rng.uniform(0.3, 0.6) * layer.part.radius
    is_stroke = (np.abs(u) < rng.uniform(8, 14)) & (np.abs(v - at) < height) & ((u / pitch) % 1 < 0.34)
    return np.where(is_stroke & (layer.distance < -3), -rng.uniform(18, 40), 0).astype(np.float32)


def _spoil(
    colour: Field, defect: Defect, coverage: Field, layer: Layer, light: tuple[float, float], rng: np.random.Generator
) -> Field:
    """The surface with a defect in it."""
    strength = rng.uniform(0.45, 1.0)
    if defect.kind == "scratch":  # a dark groove with a bright flank, or blank metal
        flank = np.roll(coverage, (round(light[1]), round(light[0])), (0, 1))
        depth: Field = strength * (
            rng.choice([-60, 60]) * coverage + 30 * np.maximum(flank - coverage, 0) * (coverage > 0)
        )
    elif defect.kind == "dent":  # a hollow: lit on the side away from the light
        x, y = layer.x - defect.centre_xy[0], layer.y - defect.centre_xy[1]
        radius = np.minimum(dent_radius(x, y, defect.traits), 1)
        towards = (x * light[0] + y * light[1]) / np.maximum(np.hypot(x, y), 1)
        depth = strength * (-75 * towards * 2.6 * radius * (1 - radius**2) - 14 * (1 - radius))
    else:
        tint = np.array(TINTS[rng.integers(len(TINTS))], np.float32) - 1
        share = 0.75 * strength * coverage * (0.8 + 0.2 * _clouds(rng, len(coverage), 9))
        return colour + colour * share[:, :, None] * tint
    return colour + depth[:, :, None]


def _photograph(scene: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Uneven light, exposure, blur and noise."""
    line = np.linspace(-1, 1, SIZE, dtype=np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    light = 1 + rng.uniform(0, 0.35) * (math.cos(angle) * line[None, :] + math.sin(angle) * line[:, None])
    light -= rng.uniform(0, 0.2) * (line[None, :] ** 2 + line[:, None] ** 2)
    balance = rng.uniform(0.94, 1.06, 3).astype(np.float32)
    lit = scene * (light * rng.uniform(0.8, 1.15))[:, :, None] * balance
    blurred = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.95)))
    )
    noise = rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32)
    noisy = np.asarray(blurred, np.float32) + np.float32(rng.uniform(1.5, 7)) * noise
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise (size, size) of deviation about 0.6."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _smooth_line(rng: np.random.Generator, length: int, spread: float) -> Field:
    """Noise along a line, of deviation 1, smoothed over `spread` pixels."""
    reach = math.ceil(2 * spread)
    weights = np.exp(-((np.arange(-reach, reach + 1) / spread) ** 2) / 2)
    line = np.convolve(rng.standard_normal(length + 2 * reach), weights / np.linalg.norm(weights), "valid")
    return line.astype(np.float32)
