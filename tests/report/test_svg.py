from __future__ import annotations

import itertools
import random
from xml.etree import ElementTree

import pytest

from ghostfit.report.labels import Box, Label, place_labels
from ghostfit.report.markup import Markup, tag
from ghostfit.report.svg import (
    Bar,
    bars,
    curve,
    heat_map,
    legend,
    linear_axis,
    log_axis,
    mark,
    nice_ticks,
    plot,
    tick_text,
    whiskers,
)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (1e-9, 2e-9), (0.991, 0.993), (1e6, 9e8), (5, 5.0000001)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 11
    assert all(low - 1e-6 * abs(low) <= tick <= high + 1e-6 * abs(high) for tick in ticks)
    shown = [tick_text(linear_axis([low, high], 0, 100))(tick) for tick in linear_axis([low, high], 0, 100).ticks]
    assert low < 1e-6 or len(set(shown)) == len(shown)


@pytest.mark.parametrize("values", [[], [0.0], [3.0, 3.0], [-1.0, 1.0], [0.5, 1.0]])
def test_linear_axis_holds_its_values(values: list[float]) -> None:
    axis = linear_axis(values, 10, 110)
    assert axis.low < axis.high
    assert all(10 <= axis.at(value) <= 110 for value in values)


def test_bounds_are_never_passed() -> None:
    axis = linear_axis([0.2, 1.0], 0, 100, bounds=(0, 1))
    assert axis.low >= 0 and axis.high == 1


@pytest.mark.parametrize("values", [[2.0], [0.3, 40.0], [1e-3, 1e5], [1.0, 1.001]])
def test_log_axis_holds_its_values(values: list[float]) -> None:
    axis = log_axis(values, 0, 100)
    assert axis.at(min(values)) < axis.at(max(values)) or len(values) == 1
    assert len(axis.ticks) >= 2
    assert all(0 <= axis.at(value) <= 100 for value in values)


def test_figures_are_sound_xml() -> None:
    x, y = linear_axis([0, 10], 40, 400), log_axis([1, 100], 200, 20)
    layers = [curve([(0, 1), (10, 100)], x, y, "blue")]
    layers += [
        mark(shape, 50, 50, 4, "red", "<&>") for shape in ("circle", "ring", "square", "diamond", "triangle", "star")
    ]
    figures = [
        plot(420, 240, x, y, layers, x_label="<x>", y_label="&"),
        bars([Bar("<a>", 1.0, "1 & 2"), Bar("b" * 99, 0.0, "")], 360, label="x"),
        bars([], 360, label="x"),
        whiskers([(Bar("a", 0.5, ""), 0.0), (Bar("b", 0.5, ""), 0.6)], 360, x_label="x", x_text=str),
        heat_map([[3, 0], [1, 2]], ["<a>", "&"], 360, label="x"),
    ]
    for drawn in figures:
        ElementTree.fromstring(drawn)
    ElementTree.fromstring(legend([("line", "blue", "<x>"), ("limit", "", "y"), ("star", "red", "z")]))


def test_labels_never_cover_one_another() -> None:
    rng = random.Random(0)
    room = Box(0, 0, 600, 400)
    points = [(rng.uniform(0, 600), rng.uniform(0, 400)) for _ in range(300)]
    labels = [Label("network" * rng.randint(1, 3), x, y) for x, y in points[:25]]
    boxes = [box for _, box in place_labels(labels, points, room)]
    assert len(boxes) >= 15
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(room.holds(box.left, box.top) and room.holds(box.right, box.bottom) for box in boxes)


def test_the_first_label_is_placed_first() -> None:
    labels = [Label("important", 50, 20), Label("other", 50, 20), Label("x" * 99, 50, 20)]
    placed = place_labels(labels, [], Box(0, 0, 160, 40))
    assert placed[0][0].text == "important"
    assert "x" * 99 not in [label.text for label, _ in placed]


def test_markup_is_kept_and_text_escaped() -> None:
    assert tag("p", Markup("<b>a</b>"), "<b>", None, title='"', hidden=True, lang=None) == (
        '<p title="&quot;" hidden=""><b>a</b>&lt;b&gt;</p>'
    )
