"""``ghostfit check``: what is wrong with labelled images, before they cost a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostfit.config import argument, option, settle
from ghostfit.event import Event, OnEvent, ignore

if TYPE_CHECKING:
    from ghostfit.data.check import CheckReport


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Settings of a check."""

    data: str = argument("folder, zip, CSV or CIFAR files of labelled images, or digits")
    format: str = option("", "how DATA is laid out, when looking at it does not tell")


@dataclass(frozen=True)
class CheckResult:
    """The findings."""

    report: CheckReport

    @property
    def has_failed(self) -> bool:
        """Whether there is an error among the findings; warnings do not fail."""
        return not self.report.is_ok

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return self.report.to_dict()

    def to_text(self) -> str:
        """For a terminal."""
        return self.report.to_text()


def check(config: CheckConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> CheckResult:
    """Read and check `config.data`. Raises ValueError when there is nothing to check."""
    config = settle(CheckConfig, config, settings)
    from ghostfit.data.check import check as check_dataset
    from ghostfit.data.readers import read_dataset

    on_event(Event("check", "start", config.data))
    dataset = read_dataset(config.data, format=config.format or None)
    report = check_dataset(
        dataset, progress=lambda done, total: on_event(Event("check", "progress", "looking at images", done, total))
    )
    on_event(Event("check", "done", f"{len(report.findings)} findings"))
    return CheckResult(report)
