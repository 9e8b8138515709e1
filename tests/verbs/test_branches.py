"""GhostNetV3's training form: branches while a network learns, none in anything that is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file

import ghostfit as gf
from ghostfit.arch import Arch
from ghostfit.nn.build import build
from ghostfit.nn.fuse import fuse
from ghostfit.run import Run
from ghostfit.runtime.bundle import open_bundle
from ghostfit.search.start import plain_start
from ghostfit.train.checkpoint import Checkpoints
from ghostfit.train.config import TrainConfig
from ghostfit.verbs.training import running_form, training_form

ARCH = plain_start(3, (32, 32), width=0.25, depth=1)
SETTINGS: dict[str, Any] = {"epochs": 3.0, "batch_size": 16, "augment": "none", "branches": 2}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("start") / "start.json"
    path.write_text(ARCH.to_json())
    return str(path)


@pytest.mark.parametrize("branches", [0, 1, 3])
@pytest.mark.parametrize("drop_path", [0.0, 0.2])
def test_there_and_back_is_the_same_function(branches: int, drop_path: float) -> None:
    network, x = build(ARCH).eval().double(), torch.rand(4, 3, 32, 32, dtype=torch.double)
    config = TrainConfig(branches=branches, drop_path=drop_path)
    wide = training_form(network, config).double().eval()
    assert wide.arch.branches == branches
    back = running_form(wide)
    assert back.arch == ARCH and back.state_dict().keys() == network.state_dict().keys()
    for other in (wide, back, fuse(wide)):
        assert torch.allclose(other(x), network(x))


def test_fresh_branches_do_not_depend_on_what_was_drawn_before() -> None:
    network = build(ARCH)
    one = training_form(network, TrainConfig(branches=2)).state_dict()
    torch.rand(7)
    other = training_form(network, TrainConfig(branches=2)).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_with_branches_keeps_none_and_can_be_resumed(
    shapes: Path, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gf.train(shapes, out=str(tmp_path / "whole"), arch=start, **SETTINGS)
    with monkeypatch.context() as patch:
        calls = iter([False] * 6)
        patch.setattr("ghostfit.verbs.clock.Clock.deadline", lambda self, seconds: lambda: next(calls, True))
        assert gf.train(shapes, out=str(tmp_path / "run"), arch=start, **SETTINGS).run
    state = Checkpoints(Run.open(tmp_path / "run"), "train").load()
    assert state is not None and 0 < state["step"] < 15
    assert any(".branches.1." in name for name in state["network"])
    with pytest.raises(ValueError, match=r"branches was 2, now 3"):
        gf.train(shapes, out=str(tmp_path / "run"), arch=start, resume=True, **{**SETTINGS, "branches": 3})
    resumed = gf.train(shapes, out=str(tmp_path / "run"), arch=start, resume=True, **SETTINGS)
    one, other = (load_file(result.run / "weights.safetensors") for result in (whole, resumed))
    assert one.keys() == build(ARCH).state_dict().keys()
    assert all((one[name] == other[name]).all() for name in one)
    assert Arch.from_dict(Run.open(whole.run).read_json("arch.json")).branches == 0
    last = [line for line in Run.open(whole.run).records("metrics.jsonl") if "val_accuracy" in line][-1]
    assert whole.value == pytest.approx(last["val_accuracy"]), "merging changes no answer"


@pytest.mark.slow
def test_a_fit_with_branches_ships_none(shapes: Path, start: str, tmp_path: Path) -> None:
    result = gf.fit(
        shapes, out=str(tmp_path / "run"), start=start, search_epochs=1.0, evaluations=1, drop_path=0.1, **SETTINGS
    )
    manifest = open_bundle(result.bundle).manifest
    assert manifest.arch_id == result.arch_id and manifest.arch["branches"] == 0  # type: ignore[index]
    state = Checkpoints(Run.open(result.run), "train").load()
    assert state is not None and any(".branches.1." in name for name in state["network"])
    again = gf.fit(
        shapes, out=str(tmp_path / "run"), start=start, search_epochs=1.0, evaluations=1, drop_path=0.1, resume=True,
        **SETTINGS,
    )  # fmt: skip
    assert again == result
