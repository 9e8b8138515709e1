from __future__ import annotations

import pytest
import torch

from ghostfit.train.config import TrainConfig
from ghostfit.train.device import choose_device


@pytest.mark.parametrize(("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(has_cuda: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert choose_device().type == choose_device("auto").type == expected


@pytest.mark.parametrize(("name", "module"), [("cuda", torch.cuda), ("mps", torch.backends.mps)])
def test_a_named_device_is_used_or_refused(name: str, module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_available", lambda: True)
    assert choose_device(name).type == name
    monkeypatch.setattr(module, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"--device {name} is not there"):
        choose_device(name)


def test_an_unknown_name_is_refused() -> None:
    for make in (choose_device, lambda name: TrainConfig(device=name)):
        with pytest.raises(ValueError, match=r"tpu.*auto, cpu, cuda, mps"):
            make("tpu")
