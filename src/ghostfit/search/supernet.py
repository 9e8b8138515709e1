"""Training of the store: sandwich rule and in-place distillation over phases that open, then shrink, the space.

Each step trains the largest network of the current space on the labels, then the smallest and some random ones on the
largest one's outputs (BigNAS, arXiv 2003.11142); what loss and distillation are is the inner task's. Genes open up one
group after another (Once-for-all, arXiv 1908.09791); once all are open, choices that the evidence rules out are dropped
(`ghostfit.search.shrink`), each with its reason.

By the rule ``single`` each step trains one random network of the whole space on the labels instead (arXiv 1904.00420),
a classifier on small images first (progressive resizing, arXiv 2104.00298), and the space shrinks at the end. Where a
store has minutes and not hours that is worth more: the largest network alone takes most of a sandwich's time (measured,
docs/LOG.md, 2026-11-26).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ghostfit.arch import Arch
from ghostfit.nn.sharing import Supernet
from ghostfit.search.evaluate import Evaluator, resize_to
from ghostfit.space import Space
from ghostfit.train.config import TrainConfig
from ghostfit.train.task import FollowsProgress, Learner, Loader
from ghostfit.train.tasks import make_task
from ghostfit.train.tasks.classify import Classify
from ghostfit.train.tasks.detect import Detect
from ghostfit.train.tasks.instance import Instance

# Share of the training at which each group of genes opens, and at which evidence is gathered and the space shrinks.
# Genes of a block's operators disturb the shared weights least and widths most (Once-for-all, section 3.3).
OPENING: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.10, ("kernel", "start_kernel", "cheap_kernel", "ratio", "project_ratio", "se", "dfc")),
    (0.20, ("depth",)),
    (0.30, ("out", "mid", "conv", "hidden", "size", "stride")),
)
SHRINKING = (0.55, 0.8)
LATE_SHRINKING = (0.97,)  # by the rule ``single``, whose networks can be compared once all have had their sizes
# By the rule ``single``: up to this share of the training, images are at most so large, as a share of the largest size.
# Where the last size had a fifth of the training only, the store was unfair to large inputs (docs/LOG.md, 2026-11-26).
EARLY_SIZES = ((0.4, 0.5), (0.6, 0.75))
LEAST_EARLY = 16  # pixels: smaller ones have nothing left after three strides
RULES = ("sandwich", "single")

Shrink = Callable[[Space, int], Space]


@dataclass
class Sandwich:
    """The supernet's task for the training loop: a `Task` with state.

    `task` has the losses; see `learner_of` for tasks other than classification. `shrink` is called at each share of
    `SHRINKING`, or `LATE_SHRINKING`, with the space and the number of the phase and returns the smaller space. Raises
    ValueError for an unknown rule.
    """

    space: Space
    shrink: Shrink | None = None
    num_random: int = 1
    task: Learner = field(default_factory=lambda: Classify(label_smoothing=0.1))
    drop_path: float = 0.0
    evaluator: Evaluator | None = None
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    rule: str = "sandwich"
    progress: float = 0.0
    shrunk: int = 0
    _opened: dict[tuple[str, int], Space] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r}; allowed: {', '.join(RULES)}")

    @property
    def metric(self) -> str:
        """That of the inner task."""
        return self.task.metric

    def begin_step(self, progress: float) -> bool:
        """Note the progress and shrink the space when that is due."""
        self.progress = progress
        if isinstance(self.task, FollowsProgress):
            self.task.begin_step(progress)
        shares = LATE_SHRINKING if self.rule == "single" else SHRINKING
        if self.shrink is None or self.shrunk >= len(shares) or progress < shares[self.shrunk]:
            return False
        with torch.random.fork_rng(devices=[]):
            self.space = self.shrink(self.space, self.shrunk)
        self.shrunk += 1
        return True

    def train_step(self, network: nn.Module, x: Tensor, y: Any) -> Mapping[str, Tensor]:
        """One sandwich, or one network: x (B, C, H, W) and its labels y at the largest input size."""
        assert isinstance(network, Supernet)
        if self.rule == "single":
            return self._train_one(network, x, y)
        space = self.current()
        largest, *others = self._sample(space)
        with self.autocast():
            outputs = network(resize_to(x, largest), largest, drop_path=self.drop_path)
        losses = self.task.loss(outputs, y)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        values = {name: value.detach() for name, value in losses.items()}
        wanted = tuple(output.detach() for output in outputs) if isinstance(outputs, tuple) else outputs.detach()
        for arch in others:
            with self.autocast():
                outputs = network(resize_to(x, arch), arch)
            distilled = self.task.distill(outputs, wanted, y)
            distilled.backward()  # type: ignore[no-untyped-call]
            values["distill_loss"] = distilled.detach()
        return values

    def _train_one(self, network: Supernet, x: Tensor, y: Any) -> Mapping[str, Tensor]:
        arch = self._early(self.space.sample(random.Random(random.getrandbits(64))))
        with self.autocast():
            outputs = network(resize_to(x, arch), arch, drop_path=self.drop_path)
        losses = self.task.loss(outputs, y)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in losses.items()}

    def _early(self, arch: Arch) -> Arch:
        """`arch` at the input size of this progress; as it is in a dense task, whose labels are in pixels."""
        if not isinstance(self.task, Classify):
            return arch
        share = next((share for until, share in EARLY_SIZES if self.progress < until), 1.0)
        largest = self.space.template.size_hw
        height, width = (
            min(side, max(LEAST_EARLY, int(share * most / 8 + 0.5) * 8))
            for side, most in zip(arch.size_hw, largest, strict=True)
        )
        return arch if (height, width) == arch.size_hw else arch.replace(size_hw=(height, width))

    def evaluate(self, network: nn.Module, batches: Loader) -> dict[str, float]:
        """Means of the largest and the smallest subnet with recalibrated batch norm."""
        assert isinstance(network, Supernet) and self.evaluator is not None
        space, judge = self.current(), dataclasses.replace(self.evaluator, supernet=network, judged=batches, _scores={})
        scores = [judge.score(arch) for arch in (space.largest(), space.smallest())]
        return {
            self.metric: sum(score.metric for score in scores) / 2,
            "val_loss": sum(score.loss for score in scores) / 2,
        }

    def current(self) -> Space:
        """The space with the genes that are open at this progress."""
        if self.rule == "single":
            return self.space
        num_open = sum(self.progress >= share for share, _ in OPENING)
        key = (self.space.id, num_open)
        if key not in self._opened:
            closed = {name for _, names in OPENING[num_open:] for name in names}
            genes = [gene for gene in self.space.open_genes() if gene.rsplit(".", 1)[-1] in closed]
            self._opened = {key: self.space.fix(self.space.largest(), genes)}
        return self._opened[key]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs: the space as it is now."""
        return {"space": self.space.to_dict(), "shrunk": self.shrunk, "progress": self.progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        self.space, self.shrunk = Space.from_dict(state["space"]), state["shrunk"]
        self.progress = state["progress"]

    def _sample(self, space: Space) -> list[Arch]:
        """The largest, then the smallest and random ones, each once.

        Draws from the global generator, which the loop seeds.
        """
        archs = [space.largest()]
        if space.open_genes():
            archs.append(space.smallest())
            archs += [space.sample(random.Random(random.getrandbits(64))) for _ in range(self.num_random)]
        return list({arch.id: arch for arch in archs}.values())


def learner_of(supernet: Supernet, space: Space, config: TrainConfig, batches: Loader) -> Learner:
    """The task of the networks of `space`, as `config` asks for it; labels are in pixels of its largest input size."""
    task = make_task(supernet.extract(space.largest()), config, batches)
    if not isinstance(task, Detect | Instance):
        return task
    genes = space.encode(space.largest())
    sizes_hw = [space.decode({**genes, "size": size}).size_hw for size in reversed(space.choices("size"))]
    return dataclasses.replace(task, sizes_hw=tuple(dict.fromkeys([*task.sizes_hw, *sizes_hw])))
