"""A network that can't learn eight pictures by heart has a defect in its targets, its loss or its decoding."""

from __future__ import annotations

import pytest
import torch
from shapes import NUM_CLASSES, Shapes

from ghostfit.arch import Dense
from ghostfit.nn.build import build
from ghostfit.search.start import conv_start
from ghostfit.train.config import TrainConfig
from ghostfit.train.fit import fit
from ghostfit.train.tasks import make_task

SIZE, STEPS = 96, 300


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "nms_free", "least"),
    [
        ("detect", False, 0.98),
        ("instance", False, 0.98),
        ("segment", False, 0.95),
        ("detect", True, 0.98),
        ("instance", True, 0.98),
    ],
)
def test_eight_images_are_learnt_by_heart(task: str, nms_free: bool, least: float) -> None:
    torch.manual_seed(0)
    strides = () if task == "segment" else (8, 16, 32)
    dense = Dense(task, width=48, strides=strides, nms_free=nms_free)  # type: ignore[arg-type]
    num_classes = NUM_CLASSES + (task == "segment")
    network = build(conv_start(num_classes, (SIZE, SIZE), depth=2).as_dense(dense))
    data = Shapes(task, size=SIZE)
    config = TrainConfig(epochs=float(STEPS), batch_size=8, lr=0.003, ema=False, weight_decay=0.0)
    judge = make_task(network, config, data)
    for _ in fit(network, data, None, config, task=make_task(network, config, data)):
        pass
    assert judge.evaluate(network, data)[judge.metric] >= least
