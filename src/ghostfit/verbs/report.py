"""``ghostfit report``: the report of a run as one HTML file. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostfit.config import argument, option, settle
from ghostfit.event import OnEvent, ignore
from ghostfit.run import Run


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Settings of a report."""

    run: str = argument("folder of a run, finished or not")
    out: str = option("", "file to write (default: report.html in the run)")


@dataclass(frozen=True)
class ReportResult:
    """Where the report is."""

    report: Path
    has_failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {"report": str(self.report)}

    def to_text(self) -> str:
        """For a terminal."""
        return str(self.report)


def report(config: ReportConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> ReportResult:
    """Write the report. Raises ValueError when the folder holds no run."""
    config = settle(ReportConfig, config, settings)
    from ghostfit.report import write_report

    run = Run.open(config.run)
    return ReportResult(write_report(run.path, Path(config.out) if config.out else None))
