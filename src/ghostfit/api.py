"""The verbs, each with its configuration: what the command line calls, and what a program may.

    import ghostfit as gf
    result = gf.fit(gf.api.FitConfig(data="flowers/", latency_ms=3.0, time_s=1800.0))
    print(result.to_text())

Names are loaded on first use, so that those of the base install never load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ghostfit.event import Event as Event

if TYPE_CHECKING:
    from ghostfit.verbs.bench import BenchConfig as BenchConfig
    from ghostfit.verbs.bench import bench as bench
    from ghostfit.verbs.check import CheckConfig as CheckConfig
    from ghostfit.verbs.check import check as check
    from ghostfit.verbs.convert import ConvertConfig as ConvertConfig
    from ghostfit.verbs.convert import convert as convert
    from ghostfit.verbs.evaluate import EvaluateConfig as EvaluateConfig
    from ghostfit.verbs.evaluate import evaluate as evaluate
    from ghostfit.verbs.export import ExportConfig as ExportConfig
    from ghostfit.verbs.export import export as export
    from ghostfit.verbs.fit import FitConfig as FitConfig
    from ghostfit.verbs.fit import fit as fit
    from ghostfit.verbs.models import ModelsConfig as ModelsConfig
    from ghostfit.verbs.models import models as models
    from ghostfit.verbs.predict import PredictConfig as PredictConfig
    from ghostfit.verbs.predict import predict as predict
    from ghostfit.verbs.report import ReportConfig as ReportConfig
    from ghostfit.verbs.report import report as report
    from ghostfit.verbs.search import SearchConfig as SearchConfig
    from ghostfit.verbs.search import search as search
    from ghostfit.verbs.train import TrainConfig as TrainConfig
    from ghostfit.verbs.train import train as train

VERBS = ("bench", "check", "convert", "evaluate", "export", "fit", "models", "predict", "report", "search", "train")


def __getattr__(name: str) -> Any:
    verb = name.removesuffix("Config").lower()
    if verb not in VERBS or name not in (verb, f"{verb.capitalize()}Config"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ghostfit.verbs.{verb}"), name)
    globals()[name] = value
    return value
