"""The sections of a report in their order, by task: one file, one function each, from a `RunData` to a `Section`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from ghostfit.report.read import RunData
from ghostfit.report.section import Section
from ghostfit.report.sections.confidence import confidence
from ghostfit.report.sections.confusion import confusion
from ghostfit.report.sections.data import data
from ghostfit.report.sections.drawing import drawing
from ghostfit.report.sections.mistakes import mistakes
from ghostfit.report.sections.objects import objects
from ghostfit.report.sections.paid import paid
from ghostfit.report.sections.pictures import pictures
from ghostfit.report.sections.pixels import pixels
from ghostfit.report.sections.repeat import repeat
from ghostfit.report.sections.shrinking import shrinking
from ghostfit.report.sections.spent import spent
from ghostfit.report.sections.timing import timing
from ghostfit.report.sections.tradeoff import tradeoff
from ghostfit.report.sections.training import training

Draw: TypeAlias = "Callable[[RunData], Section]"

_FOUND: tuple[Draw, ...] = (tradeoff, paid, drawing, timing, shrinking, training)
_RUN: tuple[Draw, ...] = (data, spent, repeat)
_OBJECTS: tuple[Draw, ...] = (objects, confusion, pictures)
SECTIONS: Mapping[str, tuple[Draw, ...]] = {
    "classify": (*_FOUND, confusion, confidence, mistakes, *_RUN),
    "detect": (*_FOUND, *_OBJECTS, *_RUN),
    "instance": (*_FOUND, *_OBJECTS, *_RUN),
    "segment": (*_FOUND, pixels, confusion, pictures, *_RUN),
}

__all__ = ["SECTIONS"]
