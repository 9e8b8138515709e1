"""Reports: one self-contained HTML page from a run folder, without torch.

>>> write_report("runs/flowers")  # doctest: +SKIP
PosixPath('runs/flowers/report.html')
"""

from __future__ import annotations

from ghostfit.report.network import draw_network
from ghostfit.report.page import write_report
from ghostfit.rooms import make_callable

__all__ = ["draw_network", "write_report"]

make_callable(__name__)
