"""Labelled images and a device go in; the smallest, fastest network that does the job comes out.

Nothing heavy is imported before it is used: ``import ghostfit`` loads neither NumPy nor torch, and the names of the
base install (`load`, `preset`, `read_image`, ...) never load torch.

>>> import ghostfit as gf
>>> arch = gf.preset("ghostnet_100", num_classes=10, size_hw=(96, 96))
>>> arch.num_classes
10
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ghostfit import api as api
    from ghostfit.api import bench as bench
    from ghostfit.api import check as check
    from ghostfit.api import convert as convert
    from ghostfit.api import evaluate as evaluate
    from ghostfit.api import export as export
    from ghostfit.api import fit as fit
    from ghostfit.api import models as models
    from ghostfit.api import predict as predict
    from ghostfit.api import report as report
    from ghostfit.api import search as search
    from ghostfit.api import train as train
    from ghostfit.arch import Arch as Arch
    from ghostfit.arch import Block as Block
    from ghostfit.arch import Head as Head
    from ghostfit.arch import Stage as Stage
    from ghostfit.arch import Stem as Stem
    from ghostfit.counting import count as count
    from ghostfit.data.readers import read_dataset as read_dataset
    from ghostfit.data.split import make_splits as make_splits
    from ghostfit.nn.build import build as build
    from ghostfit.nn.fuse import fuse as fuse
    from ghostfit.nn.pretrained import load_pretrained as load_pretrained
    from ghostfit.nn.sharing import Supernet as Supernet
    from ghostfit.presets import list_presets as list_presets
    from ghostfit.presets import preset as preset
    from ghostfit.run import Run as Run
    from ghostfit.runtime.predict import load as load
    from ghostfit.space import Space as Space
    from ghostfit.vision.prepare import Prepare as Prepare
    from ghostfit.vision.prepare import read_image as read_image
    from ghostfit.vision.results import Classification as Classification

__version__ = "0.1.0"

# Where each public name lives. Those of `CALLABLE_ROOMS` share their name with a package: see `ghostfit.rooms`.
HOMES = {
    "api": ("bench", "check", "convert", "evaluate", "fit", "models", "predict"),
    "arch": ("Arch", "Block", "Head", "Stage", "Stem"),
    "data.readers": ("read_dataset",),
    "data.split": ("make_splits",),
    "nn.build": ("build",),
    "counting": ("count",),
    "nn.fuse": ("fuse",),
    "nn.pretrained": ("load_pretrained",),
    "nn.sharing": ("Supernet",),
    "presets": ("list_presets", "preset"),
    "run": ("Run",),
    "runtime.predict": ("load",),
    "space": ("Space",),
    "vision.prepare": ("Prepare", "read_image"),
    "vision.results": ("Classification",),
}
CALLABLE_ROOMS = ("export", "report", "search", "train")
MODULES = ("api", *CALLABLE_ROOMS)

_HOME_OF = {name: f"{__name__}.{home}" for home, names in HOMES.items() for name in names}
__all__ = ["__version__", *sorted((*_HOME_OF, *MODULES))]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ghostfit.extras import explain_missing

    try:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        text = explain_missing(error)
        if text is None:
            raise
        raise ImportError(f"{__name__}.{name}: {text}", name=error.name) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
