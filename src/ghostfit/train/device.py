"""The device that networks are trained and scored on, by name."""

from __future__ import annotations

import torch

from ghostfit.train.config import DEVICES

__all__ = ["choose_device"]


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; ``auto`` is a CUDA GPU where there is one, else the CPU.

    Raises ValueError for an unknown name, and for a device that this machine or this build of torch does not have.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name not in DEVICES:
        raise ValueError(f"--device {name}; allowed: {', '.join(DEVICES)}")
    is_there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if is_there["cuda"] else "cpu")
    if not is_there[name]:
        found = ", ".join(["auto", *(device for device, is_found in is_there.items() if is_found)])
        raise ValueError(
            f"--device {name} is not there (torch {torch.__version__} finds none); here there are: {found}"
        )
    return torch.device(name)
