"""``ghostfit search``: the best architecture within the limits, its inherited weights, and what it is compared with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ghostfit.arch import Arch
from ghostfit.config import argument, option, settle
from ghostfit.event import OnEvent, ignore
from ghostfit.search.limits import Costs, Limits
from ghostfit.verbs.clock import Clock, interruptible
from ghostfit.verbs.hunt import Hunt
from ghostfit.verbs.kinds import kind_of
from ghostfit.verbs.largest import LARGEST
from ghostfit.verbs.material import material_of
from ghostfit.verbs.outset import check_input
from ghostfit.verbs.reuse import like_store
from ghostfit.verbs.runs import open_run

SUPERNET_SHARE, SEARCH_SHARE = 0.72, 0.22  # of the time limit: training the store, then looking


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Limits):
    """Settings of a search."""

    data: str = argument("folder, zip, CSV or CIFAR files of labelled images, or digits or demo:parts")
    out: str = option("", "folder of the run (default: runs/NAME)")
    resume: bool = option(False, "go on with a run that was killed")
    format: str = option("", "how DATA is laid out, when looking at it does not tell")
    task: Literal["", "classify", "detect", "segment", "instance"] = option(
        "", "what to learn, where the labels could serve several tasks (default: what they tell most of)"
    )
    size_hw: tuple[int, int] | None = option(
        None, "largest input size in pixels, such as 128 or 96x160 (default: from the images)", unit="size"
    )
    resize: Literal["squash", "crop", "letterbox"] = option(
        "squash", "how images get one shape: squashed, their middle cut out, or whole with bars at the sides"
    )
    channels: Literal[1, 3] = option(3, "what networks look at: 3 for colour, 1 for gray")
    nms_free: bool = option(
        False, "objects: a network that answers once for each, with nothing to suppress; trains a second head meanwhile"
    )
    time_s: float | None = option(None, "wall-clock limit of the whole run, such as 90s, 20m or 2h", unit="duration")
    start: str = option("auto", "network to search around: auto, a preset, or a run or JSON file with an architecture")
    weights: str = option("", "weights to start from: timm:NAME, package:NAME, or a .safetensors or .pth file")
    store: str = option("", "an earlier run, whose trained shared weights are searched within these limits")
    strategy: Literal["auto", "largest", "nsga2", "tpe", "random"] = option(
        "auto",
        "largest: a small network where it is enough, else the best of the largest within the limits, each trained for "
        "a while; the others choose by weights that all share; auto: largest to classify from fresh weights, nsga2 "
        "where shared weights are asked for or needed",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = option(
        "auto", "what networks are trained on; auto: a CUDA GPU where there is one, else the CPU"
    )
    objective: Literal["metric", "loss", "params", "macs", "naswot", "zico"] = option(
        "metric", "what is maximised; metric: accuracy, mAP 50-95 or mIoU by task"
    )
    evaluations: int = option(64, "architectures to score, and as many again by random search")
    search_epochs: float = option(30.0, "passes over the training images for the shared weights, without a time limit")
    num_random: int = option(1, "random subnets in a step of shared weights that begin as published ones")
    batch_size: int | Literal["auto"] = option(
        "auto", "images in a step; auto: 64, 128 of many small images, or 16 where each place of an image has a label"
    )
    augment: Literal["auto", "none", "light", "medium", "strong"] = option(
        "auto", "strength of image augmentation; auto: light up to 48 pixels, else medium"
    )
    flip: bool = option(True, "mirror training images left to right; --no-flip for digits, text and signs")
    runtime: Literal["onnxruntime", "openvino"] = option("onnxruntime", "runtime that latency is measured with")
    threads: int = option(1, "threads that latency is measured with")
    seed: int = option(0, "seed of every random choice")


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    run: Path
    arch: Arch
    metric: str
    value: float
    costs: Costs
    sentence: str
    how: str = "with inherited weights"
    has_failed: bool = False
    is_stopped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {
            "run": str(self.run),
            "arch_id": self.arch.id,
            "metric": self.metric,
            "value": self.value,
            **dataclasses.asdict(self.costs),
            "sentence": self.sentence,
        }

    def to_text(self) -> str:
        """For a terminal."""
        return (
            f"found {self.arch.id}: {self.metric} {100 * self.value:.1f} % {self.how}, "
            f"{self.costs.latency_ms:.3f} ms, {self.costs.macs / 1e6:.1f} M MACs, "
            f"{self.costs.params / 1e6:.2f} M parameters\n{self.sentence}\nrun: {self.run}"
        )


def search(config: SearchConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> SearchResult:
    """Search `config.data` for the best network within the limits; everything seen is kept in the run folder.

    Ctrl-C ends the search early with the best network so far. Raises ValueError for data or limits that can't be met.
    """
    config = like_store(settle(SearchConfig, config, settings))
    run = open_run(config, "search", lambda: check_input(config))
    with interruptible() as is_stopped:
        clock = Clock(run, config.time_s, is_stopped)
        on_event = clock.telling(on_event)
        material = material_of(config, run, on_event)
        hunt = Hunt(config, run, clock, material, on_event)
        found, sentence = hunt.search(SUPERNET_SHARE, SEARCH_SHARE)
        if not run.file("weights.safetensors").exists():
            from ghostfit.nn.pretrained import save_weights

            network = hunt.network(found.arch)
            network.prepare = dataclasses.replace(hunt.material.prepare, size_hw=found.arch.size_hw)
            run.write_json("prepare.json", network.prepare.to_dict())
            save_weights(network, run.file("weights.safetensors"))
    return SearchResult(
        run.path,
        found.arch,
        kind_of(material.task).metric_name,
        found.score.metric if found.score else 0.0,
        found.costs,
        sentence,
        "after a short training" if hunt.strategy == LARGEST else "with inherited weights",
        is_stopped=is_stopped(),
    )
