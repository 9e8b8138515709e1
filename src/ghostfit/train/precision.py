"""Mixed precision where it pays: bfloat16 on GPUs that compute in it; it needs no loss scaling."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch


def autocast_of(
    amp: Literal["auto", "on", "off"], device: torch.device
) -> Callable[[], AbstractContextManager[object]]:
    """A maker of the context for forward passes on `device`.

    On a CPU it is off unless asked for: without AMX the small convolutions get slower, with it no faster than they get
    noisier. Asked for in vain (a GPU without bfloat16), it warns and stays off.
    """
    is_able = device.type == "cpu" or (
        device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    if amp == "on" and not is_able:
        warnings.warn(f"amp=on has no effect: {device} does not compute in bfloat16", RuntimeWarning, stacklevel=2)
    if is_able and (amp == "on" or (amp == "auto" and device.type == "cuda")):
        return functools.partial(torch.autocast, device.type, dtype=torch.bfloat16)
    return nullcontext
