"""Tasks: the loss, the targets and the metric of each kind of training, one file each.

>>> sorted(TASKS)
['classify', 'detect', 'instance', 'segment']
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ghostfit.train.config import TrainConfig
from ghostfit.train.task import Learner, Loader
from ghostfit.train.tasks.classify import make_classify
from ghostfit.train.tasks.detect import make_detect
from ghostfit.train.tasks.instance import make_instance
from ghostfit.train.tasks.segment import make_segment

__all__ = ["TASKS", "make_task"]

# How the task of a network's architecture (`Arch.task`) is made: from the network, the settings and the batches.
TASKS: dict[str, Callable[..., Learner]] = {
    "classify": make_classify,
    "detect": make_detect,
    "instance": make_instance,
    "segment": make_segment,
}


def make_task(
    network: nn.Module,
    config: TrainConfig,
    batches: Loader,
    *,
    teacher: nn.Module | None = None,
    class_weights: Tensor | None = None,
) -> Learner:
    """The task of the network's architecture, as `config` asks for it; classification without an architecture.

    A teacher or weights given here stand in for those that `config` names. Raises ValueError for settings that the
    task makes no use of, and for a teacher that does not fit.
    """
    make = TASKS[getattr(getattr(network, "arch", None), "task", "classify")]
    return make(network, config, batches, teacher=teacher, class_weights=class_weights)
