"""Networks run on the device that was chosen, on tensors that were moved there; what is kept knows no device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import ghostfit as gf
from ghostfit.data.loader import KeptBatches
from ghostfit.nn.build import Network, build
from ghostfit.nn.sharing import Supernet
from ghostfit.run import Run
from ghostfit.search.evaluate import Evaluator, Resizing
from ghostfit.search.start import plain_start
from ghostfit.search.supernet import Sandwich
from ghostfit.space import Space
from ghostfit.train.config import TrainConfig
from ghostfit.train.plan import Plan
from ghostfit.train.precision import autocast_of
from ghostfit.train.state import start as start_training
from ghostfit.train.tasks.classify import Classify
from ghostfit.verbs.afford import train_rate

ARCH = plain_start(3, (32, 32), width=0.25, depth=1)
SPACE = Space.around(ARCH, widths=(0.5, 1.0), sizes=(0.75, 1.0))
PLAN = Plan(total_steps=10, steps_per_epoch=10, peak_lr=1e-3, ema_decay=0.9, eval_every=1)
CUDA = torch.device("cuda:0")


def replace_tensors(self: nn.Module, change: Any, recurse: bool = True) -> nn.Module:
    """What `Module.to` does, with new parameters in place of changed ones: torch refuses to change fake ones."""
    for module in self.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(change(value.detach()), value.requires_grad)
        for name, value in module._buffers.items():
            module._buffers[name] = None if value is None else change(value)
    return self


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without content that still refuse to meet one of another device; a figure read from one is a half."""
    for name in ("__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, lambda self, kind=name: 0.5 if kind == "__float__" else 0)
    monkeypatch.setattr(nn.Module, "_apply", replace_tensors)
    monkeypatch.setattr(Tensor, "backward", lambda self: None)  # the engine asks for a real GPU
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda number: None)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: FakeTensorMode(allow_non_fake_inputs=True))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def images(num: int = 8) -> tuple[Tensor, Tensor]:
    return torch.zeros(num, 3, 32, 32), torch.zeros(num, dtype=torch.long)


@pytest.mark.usefixtures("fake_cuda")
def test_devices_do_not_mix_unseen() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        build(ARCH, device=CUDA)(images()[0])


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize("kind", ["plain", "store"])
def test_a_step_is_taken_on_the_device(kind: str) -> None:
    network: nn.Module = (Supernet(SPACE) if kind == "store" else build(ARCH)).to(CUDA)
    task: Any = Sandwich(SPACE, progress=1.0) if kind == "store" else Classify(mixup=0.2)
    training = start_training(network, task, TrainConfig(ema=False, clip_grad=0), PLAN)
    values = training.train_step(*images())
    assert {value.device for value in values.values() if isinstance(value, Tensor)} == {CUDA}
    assert {parameter.device for parameter in network.parameters()} == {CUDA}


@pytest.mark.usefixtures("fake_cuda")
def test_subnets_are_judged_on_the_device() -> None:
    x, y = images()
    evaluator = Evaluator(Supernet(SPACE).to(CUDA), [x], KeptBatches([(x, y)]), Classify(), latencies=None)  # type: ignore[arg-type]
    network = evaluator.network(SPACE.smallest())
    assert Resizing(network)(x.to(CUDA)).device == CUDA
    assert {value.device for value in network.state_dict().values()} == {CUDA}


@pytest.mark.usefixtures("fake_cuda")
def test_the_rate_is_measured_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Network, "forward", lambda self, x: (seen.append(x.device), self.stem(x).mean((2, 3)))[1])
    assert train_rate(ARCH, CUDA) > 0 and set(seen) == {CUDA}


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(kind, device) of each network that was moved; the chooser was asked for "cuda" and gives the CPU."""
    seen: list[tuple[str, str]] = []
    move = nn.Module.to

    def to(self: nn.Module, *args: Any, **options: Any) -> nn.Module:
        seen.extend((type(self).__name__, str(arg)) for arg in args if isinstance(arg, torch.device))
        return move(self, *args, **options)

    def choose(name: str) -> torch.device:
        assert name == "cuda"
        return torch.device("cpu")

    monkeypatch.setattr(nn.Module, "to", to)
    monkeypatch.setattr("ghostfit.train.device.choose_device", choose)
    return seen


def test_the_verbs_move_what_they_train(moves: list[tuple[str, str]], shapes: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.json"
    start.write_text(ARCH.to_json())
    gf.train(shapes, out=str(tmp_path / "train"), arch=str(start), epochs=1.0, device="cuda", augment="none")
    assert ("Network", "cpu") in moves
    moves.clear()
    gf.search(
        shapes, out=str(tmp_path / "search"), start=str(start), search_epochs=1.0, evaluations=1, device="cuda",
        augment="none",
    )  # fmt: skip
    assert ("Supernet", "cpu") in moves


def test_a_run_goes_on_on_another_device(monkeypatch: pytest.MonkeyPatch, shapes: Path, tmp_path: Path) -> None:
    """Begun by a chooser that was asked for cuda, finished on the CPU: settings and checkpoint name no device."""
    start, settings = tmp_path / "start.json", {"epochs": 2.0, "augment": "none", "batch_size": 16}
    start.write_text(ARCH.to_json())
    whole = gf.train(shapes, out=str(tmp_path / "whole"), arch=str(start), **settings)
    monkeypatch.setattr("ghostfit.train.device.choose_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr("ghostfit.verbs.clock.Clock.deadline", lambda self, seconds: lambda: True)
    gf.train(shapes, out=str(tmp_path / "run"), arch=str(start), device="cuda", **settings)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert Run.open(tmp_path / "run").read_json("run.json")["config"]["device"] == "cuda"
    gf.train(shapes, out=str(tmp_path / "run"), arch=str(start), device="cpu", resume=True, **settings)
    one, other = (load_file(path / "weights.safetensors") for path in (whole.run, tmp_path / "run"))
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.parametrize("verb", [gf.train, gf.search, gf.fit])
def test_a_device_that_is_not_there_is_refused_before_a_run_begins(
    verb: Any, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--device cuda is not there .* here there are: auto, cpu"):
        verb(shapes, out=str(tmp_path / "run"), device="cuda")
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
def test_a_whole_run_on_a_gpu(shapes: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    start = tmp_path / "start.json"
    start.write_text(ARCH.to_json())
    result = gf.fit(
        shapes, out=str(tmp_path / "run"), start=str(start), search_epochs=3.0, epochs=4.0, evaluations=3,
        batch_size=16, augment="light", device="cuda",
    )  # fmt: skip
    assert result.value > 0.6
    assert autocast_of("auto", torch.device("cuda"))() is not None
