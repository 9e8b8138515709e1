"""Packages that are verbs as well: ``gf.train`` is both the package `ghostfit.train` and the function `api.train`.

Python binds a package as an attribute of its parent when anything inside it is imported, so a function of the same
name would vanish behind it. A package that calls `make_callable` in its ``__init__.py`` answers to both.

>>> import ghostfit as gf, ghostfit.train.config
>>> callable(gf.train), gf.train.config.__name__
(True, 'ghostfit.train.config')
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


class CallableRoom(types.ModuleType):
    """A package whose call is the function of its name in `ghostfit.api`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the verb, for instance ``gf.train(...)``: see `ghostfit.api`."""
        api = importlib.import_module("ghostfit.api")
        return getattr(api, self.__name__.rpartition(".")[2])(*args, **kwargs)


def make_callable(package: str) -> None:
    """Make the loaded `package` (its ``__name__``) callable as the verb of its name."""
    sys.modules[package].__class__ = CallableRoom
