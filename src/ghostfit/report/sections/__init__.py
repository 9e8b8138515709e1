"""The sections of a report in their order: one file, one function each, from a `RunData` to a `Section`."""

from __future__ import annotations

from collections.abc import Callable

from ghostfit.report.read import RunData
from ghostfit.report.section import Section
from ghostfit.report.sections.confidence import confidence
from ghostfit.report.sections.confusion import confusion
from ghostfit.report.sections.data import data
from ghostfit.report.sections.drawing import drawing
from ghostfit.report.sections.mistakes import mistakes
from ghostfit.report.sections.paid import paid
from ghostfit.report.sections.repeat import repeat
from ghostfit.report.sections.shrinking import shrinking
from ghostfit.report.sections.spent import spent
from ghostfit.report.sections.timing import timing
from ghostfit.report.sections.tradeoff import tradeoff
from ghostfit.report.sections.training import training

SECTIONS: tuple[Callable[[RunData], Section], ...] = (
    tradeoff,
    paid,
    drawing,
    timing,
    shrinking,
    training,
    confusion,
    confidence,
    mistakes,
    data,
    spent,
    repeat,
)

__all__ = ["SECTIONS"]
